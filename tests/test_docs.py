"""The documents say what the code does."""

import argparse
import importlib
import importlib.util
import re
import shlex
from pathlib import Path
from types import ModuleType

import pytest

from goodcert.cli.main import VERBS

ROOT = Path(__file__).parent.parent


def script(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROOT / "scripts" / f"{name}.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_generated_page_is_up_to_date() -> None:
    docs = script("docs")
    for name, text in docs.pages().items():
        assert (ROOT / "docs" / name).read_text(encoding="utf-8") == text, f"run scripts/docs.py for docs/{name}"


def test_the_readme_opens_with_the_two_commands() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    commands = re.findall(r"^scripts/\S+", readme, flags=re.MULTILINE)
    assert commands[:2] == ["scripts/demo", "scripts/test"]


PAGES = [
    "README.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    *(f"docs/{page.name}" for page in (ROOT / "docs").glob("*.md")),
]


@pytest.mark.parametrize("page", PAGES)
def test_every_path_that_a_page_names_exists(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    links = re.findall(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)", text)
    assert [link for link in links if not ((ROOT / page).parent / link).exists()] == []
    paths = re.findall(r"`((?:tests|service|models|clients|scripts|docker)/[\w./-]+)", text)
    assert [path for path in paths if not (ROOT / path).exists()] == []


def test_what_adds_a_data_set_is_what_the_code_has_and_fewer_than_thirty_lines() -> None:
    text = (ROOT / "docs/data.md").read_text(encoding="utf-8").partition("## To add a data set")[2]
    steps = re.findall(r"\]\(\.\./(\S+?)\)(?:(?!\]\(\.\.).)*?```python\n(.*?)```", text, flags=re.DOTALL)
    assert [path.split("/")[-1] for path, _ in steps] == ["packs.py", "recipes.py", "benchmarks.py"]
    lines = [(path, line[3:]) for path, block in steps for line in block.splitlines() if line.strip()]
    for path, line in lines:
        assert line in (ROOT / path).read_text(encoding="utf-8").splitlines(), line
    there_before = [line for _, line in lines if "Mapping" in line or line == "}"]
    assert len(lines) - len(there_before) < 30


def commands() -> list[str]:
    """What pages tell people to type: lines of blocks, without comments, pipes, redirections and options to fill
    in."""
    found = []
    for page in PAGES:
        text = (ROOT / page).read_text(encoding="utf-8").replace("\\\n", " ")
        for block in re.findall(r"```\n(.*?)```", text, flags=re.DOTALL):
            lines = (re.split(r"\s+[#|>\[]", line)[0] for line in block.splitlines())
            found += [line for line in lines if line.startswith("goodcert ")]
    return found


@pytest.mark.parametrize("command", sorted(set(commands())))
def test_every_command_on_a_page_is_one_that_there_is(command: str) -> None:
    _, verb, *rest = shlex.split(command)
    assert verb in VERBS
    parser = argparse.ArgumentParser()
    importlib.import_module(f"goodcert.cli.{verb.replace('-', '_')}").add_arguments(parser)
    parser.parse_args(rest)  # or leaves with status 2


def test_every_verb_in_the_text_of_a_page_is_one_that_there_is() -> None:
    for page in PAGES:
        text = (ROOT / page).read_text(encoding="utf-8")
        verbs = re.findall(r"`goodcert ([a-z][a-z-]*)", text.replace("\n", " "))
        assert set(verbs) <= set(VERBS), page


def test_the_version_has_its_place_in_the_changelog() -> None:
    version = re.search(r'^version = "(.+)"', (ROOT / "pyproject.toml").read_text(), flags=re.MULTILINE)
    assert version
    assert f"## {version[1]}" in (ROOT / "CHANGELOG.md").read_text()
