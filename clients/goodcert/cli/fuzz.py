"""`goodcert fuzz classifiers` and `goodcert fuzz replay`: random classifiers against their certificates."""

import argparse
import platform
import subprocess
from pathlib import Path

from goodcert import engine
from goodcert.evaluation.fuzzing import cases, record, shares
from goodcert.evaluation.fuzzing.classifiers import VERSIONS


def add_arguments(parser: argparse.ArgumentParser) -> None:
    whats = parser.add_subparsers(dest="what", required=True, metavar="WHAT")
    purpose = "random classifiers, certified and searched for contradictions; exit status 1 if there is one"
    classifiers = whats.add_parser("classifiers", help=purpose, description=purpose.capitalize() + ".")
    classifiers.add_argument("--count", type=int, default=1000, metavar="N", help="classifiers to generate (1000)")
    classifiers.add_argument("--first", type=int, default=0, metavar="I", help="the number of the first (0)")
    classifiers.add_argument("--seed", type=int, default=0, metavar="S", help="of all numbers (0)")
    classifiers.add_argument("--seconds", type=float, metavar="T", help="start no more after so long")
    classifiers.add_argument("--processes", type=int, default=1, metavar="P", help="at once (1)")
    classifiers.add_argument(
        "--cases",
        type=Path,
        default=Path("fuzz-cases"),
        metavar="DIR",
        help="where contradictions go (fuzz-cases)",
    )
    classifiers.add_argument(
        "--write",
        type=Path,
        metavar="FILE",
        help="add the run to FILE's numbers (.json beside it) and write the page",
    )
    classifiers.add_argument(
        "--scarce",
        action="store_true",
        help=f"lead only by versions of operators that are in fewer than {record.ENOUGH} accepted ones of FILE",
    )
    _without_checks(classifiers)
    classifiers.set_defaults(fuzz=_classifiers)
    purpose = "evaluate a contradiction again; exit status 1 if it still is one"
    replay = whats.add_parser("replay", help=purpose, description=purpose.capitalize() + ".")
    replay.add_argument("case", type=Path, help="the .json of a contradiction")
    _without_checks(replay)
    replay.set_defaults(fuzz=_replay)


def _without_checks(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--without-checks", action="store_true", help="load without what holds the file against ONNX Runtime"
    )


def run(options: argparse.Namespace) -> int:
    return int(options.fuzz(options))


def _classifiers(options: argparse.Namespace) -> int:
    numbers = range(options.first, options.first + options.count)
    if options.scarce and not options.write:
        print("--scarce: expected --write, whose numbers tell which versions are scarce")
        return 2
    leaders = (
        record.scarce(record.total(record.read(options.write.with_suffix(".json")))) if options.scarce else ()
    )
    if options.scarce and not leaders:
        print(f"every version of every operator is in {record.ENOUGH} accepted classifiers")
        return 0
    done = shares.run(
        options.seed,
        numbers,
        options.processes,
        options.seconds,
        options.cases,
        leaders=leaders or tuple(VERSIONS),
        validate=not options.without_checks,
    )
    print(record.table(done.tally))
    for line in done.found:
        print(line)
    if not done.count:
        return 2
    if options.write:
        one = record.Run(
            _revision(), options.seed, numbers.start, numbers.start + done.count - 1, shares.software(),
            f"{platform.machine()}, {shares.instructions()}", not options.without_checks, done.tally, leaders,
        )  # fmt: skip
        runs = record.append(options.write.with_suffix(".json"), one)
        options.write.write_text(record.page(runs), encoding="utf-8")
        print(f"wrote {options.write}")
    return int(bool(done.tally.total.contradictions or done.tally.total.broken))


def _replay(options: argparse.Namespace) -> int:
    model, case = cases.load(options.case)
    try:
        compiled = engine.compile(model, threads=1, validate=not options.without_checks)
    except engine.EngineError as error:
        print(f"refused now: {error}")
        return 0
    found = cases.replay(compiled, model, case)
    print(f"was: {case}")
    print(f"now: {found}" if found else "now: within what is certified")
    return int(found is not None)


def _revision() -> str:
    """Of the source that runs; `unknown` outside a checkout."""
    here = Path(__file__).parent
    told = subprocess.run(
        ["git", "describe", "--always", "--dirty", "--exclude=*"],  # noqa: S607
        cwd=here,
        capture_output=True,
        text=True,
        check=False,
    )
    return told.stdout.strip() or "unknown"
