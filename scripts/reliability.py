"""Run the tests that load, break and attack the service, and write docs/reliability.md from what they found.
Arguments go to pytest. Where one of them fails nothing is written, and the status is 1."""

import os
import re
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "reliability.md"
SECTIONS = {
    "Load held, faults survived": (
        "tests/promises/test_endurance.py",
        "tests/promises/test_ending.py::test_sigterm_under_load_loses_nothing_that_was_accepted",
        "tests/promises/test_rolling.py",
        (
            "tests/promises/test_workers.py::"
            "test_a_worker_killed_under_load_is_replaced_without_a_wrong_answer_or_a_double_count"
        ),
        "tests/promises/test_replacement.py",
        (
            "tests/promises/test_ledger.py::"
            "test_after_kill_9_under_load_every_certificate_that_a_client_received_is_there"
        ),
        (
            "tests/promises/test_ledger.py::"
            "test_without_its_database_the_service_refuses_and_goes_on_when_it_is_back"
        ),
        (
            "tests/promises/test_triggers.py::"
            "test_what_was_raised_while_nobody_listened_survives_kill_9_and_is_delivered"
        ),
        "tests/promises/test_triggers.py::test_killed_in_the_middle_of_delivering_nothing_is_missing",
    ),
    "An engine that breaks its word": ("tests/serve/certifier/test_unsound.py",),
    "Hostile images": (
        (
            "tests/serve/certifier/test_hostile_images.py::"
            "test_a_hostile_image_gets_a_certificate_or_a_refusal_and_harms_nobody"
        ),
    ),
    "Hostile model files": (
        (
            "tests/engine/sandbox/test_sandbox.py::test_a_hostile_file_is_refused_with_a_reason_that_names_the_culprit"
        ),
    ),
    "Slow, malformed and invented HTTP": (
        "tests/serve/server/test_connections.py::TestSlowness",
        "tests/serve/server/test_connections.py::TestCrowds",
        "tests/serve/server/test_connections.py::TestFraming",
        "tests/serve/server/test_parsing.py",
        "tests/serve/http/test_surface.py",
    ),
}


class Case(NamedTuple):
    """test, parameter: of a test that ran. told: what it recorded. skipped: why, or ""."""

    test: str
    parameter: str
    told: dict[str, str]
    skipped: str

    @property
    def words(self) -> str:
        return self.test.removeprefix("test_").replace("_", " ")


def run(tests: Sequence[str], arguments: Sequence[str]) -> list[Case]:
    """Raises CalledProcessError where a test fails."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        options = ["--slow", "-o", "junit_family=xunit1", f"--junitxml={report}"]
        command = [sys.executable, "-m", "pytest", *options, *arguments, *tests]
        subprocess.run(command, check=True, cwd=ROOT)
        return list(cases(ElementTree.parse(report)))  # noqa: S314  pytest wrote it


def cases(report: ElementTree.ElementTree) -> Iterator[Case]:
    for case in report.iter("testcase"):
        test, _, parameter = case.attrib["name"].partition("[")
        told = {each.attrib["name"]: each.attrib["value"] for each in case.iter("property")}
        skipped = case.find("skipped")
        yield Case(test, parameter.removesuffix("]"), told, "" if skipped is None else skipped.attrib["message"])


def section(title: str, ran: Sequence[Case]) -> str:
    """What was found, test by test; of a single test family by family."""
    single = len({case.test for case in ran}) == 1
    rows, counts = [], Counter[str]()
    for case in ran:
        label = case.parameter if single else f"{case.words} {case.parameter}".strip()
        if case.skipped or "found" in case.told:
            rows.append((label, case.told.get("found", f"skipped: {case.skipped}")))
        else:
            counts[case.told.get("family", case.words)] += 1
    rows += [(label, f"{count}, all as promised") for label, count in counts.items()]
    lines = "\n".join(f"| {label} | {found} |" for label, found in rows)
    promise = f"{ran[0].words.capitalize()}.\n\n" if single else ""
    return f"## {title}\n\n{promise}| what | found |\n|---|---|\n{lines}\n"


def hardware() -> str:
    information = Path("/proc/cpuinfo")
    text = information.read_text(encoding="utf-8") if information.exists() else ""
    name = re.search(r"model name\s*: (.+)", text)
    load = f"{os.getloadavg()[0]:.0f}" if hasattr(os, "getloadavg") else "unknown"
    return f"{name[1] if name else 'an unknown processor'}, {os.cpu_count()} processors, load {load} as it began"


def page(arguments: Sequence[str]) -> str:
    machine, began = hardware(), datetime.now(UTC)
    ran = {title: run(tests, arguments) for title, tests in SECTIONS.items()}
    count = sum(len(found) for found in ran.values())
    minutes = (datetime.now(UTC) - began).total_seconds() / 60
    sections = "\n".join(section(title, found) for title, found in ran.items())
    return f"""<!-- Measured and written by scripts/reliability.py. -->
# Reliability

On {began.date()} {count} tests loaded, broke and attacked the service in {minutes:.0f} minutes, on
{machine}, Python {sys.version.split()[0]}.
All of them passed: nothing that was accepted was lost, and no answer was wrong. `scripts/reliability.py` repeats
it and writes this page, or fails.

{sections}"""


if __name__ == "__main__":
    try:
        PAGE.write_text(page(sys.argv[1:]), encoding="utf-8")
    except subprocess.CalledProcessError as error:
        sys.exit(f"scripts/reliability.py: nothing was written: {error}")
