"""What runs of the fuzzer found, added up: a file of numbers, and the page made from it."""

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from goodcert.engine.checks.batch_independence import BOX_BY_BOX
from goodcert.evaluation.fuzzing.classifiers import VERSIONS
from goodcert.evaluation.fuzzing.evaluators import EVALUATORS, MISREAD
from goodcert.evaluation.fuzzing.trial import WHOLE, Trial

ENOUGH = 200
"""Accepted classifiers that every version of every operator is to be in."""


@dataclass
class Counts:
    """Of the classifiers of one kind."""

    generated: int = 0
    accepted: int = 0
    refused: int = 0
    broken: int = 0
    searched: int = 0
    informative: int = 0
    crown: int = 0
    contradictions: int = 0

    def add(self, other: "Counts") -> None:
        for name, count in asdict(other).items():
            setattr(self, name, getattr(self, name) + count)


@dataclass
class FuzzTally:
    """versions: by version of an operator, of the classifiers that hold it. opsets: by opset. reasons: how often
    for which a classifier was refused, or broke. unknown: by evaluator, how many accepted ones it did not run."""

    total: Counts = field(default_factory=Counts)
    versions: dict[str, Counts] = field(default_factory=dict)
    opsets: dict[str, Counts] = field(default_factory=dict)
    reasons: dict[str, int] = field(default_factory=dict)
    unknown: dict[str, int] = field(default_factory=dict)

    def count(self, trial: Trial) -> None:
        counts, searched = _counts(trial), trial.searched
        self.total.add(counts)
        for version in trial.classifier.versions:
            self.versions.setdefault(version, Counts()).add(counts)
        self.opsets.setdefault(str(trial.classifier.opset), Counts()).add(counts)
        if trial.reason:
            self.reasons[trial.reason] = self.reasons.get(trial.reason, 0) + 1
        for name, knew in (searched.evaluated if searched else {}).items():
            self.unknown[name] = self.unknown.get(name, 0) + (not knew)

    def add(self, other: "FuzzTally") -> None:
        self.total.add(other.total)
        for own, theirs in ((self.versions, other.versions), (self.opsets, other.opsets)):
            for name, counts in theirs.items():
                own.setdefault(name, Counts()).add(counts)
        for numbers, more in ((self.reasons, other.reasons), (self.unknown, other.unknown)):
            for name, number in more.items():
                numbers[name] = numbers.get(name, 0) + number

    @classmethod
    def of(cls, said: Mapping[str, Any]) -> "FuzzTally":
        """From what `asdict` made of one."""
        versions, opsets = ({n: Counts(**c) for n, c in said[part].items()} for part in ("versions", "opsets"))
        return cls(Counts(**said["total"]), versions, opsets, dict(said["reasons"]), dict(said["unknown"]))


def _counts(trial: Trial) -> Counts:
    searched = trial.searched
    return Counts(
        generated=1,
        **{trial.outcome: 1},
        searched=int(bool(searched and any(searched.evaluated.values()))),
        informative=int(bool(searched and searched.informative)),
        crown=int(bool(searched and searched.crown)),
        contradictions=int(bool(searched and searched.contradictions)),
    )


@dataclass(frozen=True)
class Run:
    """revision: of the source. seed, first, last: the numbers of the classifiers, both included. software:
    versions. processor: what computed. checks: whether those at load were on. leaders: the versions of operators
    that they were made for in turn; none for all."""

    revision: str
    seed: int
    first: int
    last: int
    software: str
    processor: str
    checks: bool
    tally: FuzzTally
    leaders: tuple[str, ...] = ()


def append(path: Path, run: Run) -> list[Run]:
    """Writes the run behind those that the file holds; returns all."""
    runs = [*read(path), run]
    lines = ",\n".join(json.dumps(asdict(one), sort_keys=True) for one in runs)
    path.write_text(f"[\n{lines}\n]\n", encoding="utf-8")
    return runs


def read(path: Path) -> list[Run]:
    if not path.exists():
        return []
    said = json.loads(path.read_text(encoding="utf-8"))
    return [
        Run(**{**one, "tally": FuzzTally.of(one["tally"]), "leaders": tuple(one.get("leaders", ()))})
        for one in said
    ]


def scarce(tally: FuzzTally) -> tuple[str, ...]:
    """The versions of operators that fewer than `ENOUGH` accepted classifiers hold."""
    none = Counts()
    return tuple(
        version
        for version in VERSIONS
        if version.split("-")[0] not in BOX_BY_BOX and tally.versions.get(version, none).accepted < ENOUGH
    )


def total(runs: Iterable[Run]) -> FuzzTally:
    tally = FuzzTally()
    for run in runs:
        tally.add(run.tally)
    return tally


# --- the page -----------------------------------------------------------------------------------------

_HEADER = "generated | accepted | refused | broken | searched | informative | crown | contradictions"


def table(tally: FuzzTally) -> str:
    """By operator, by opset, and why classifiers were refused, in Markdown."""
    return "\n\n".join([_operators(tally), _opsets(tally), _reasons(tally), _evaluators(tally)])


def _operators(tally: FuzzTally) -> str:
    lines = [f"| Operator | versions | fewest accepted of one | {_HEADER} |", f"|---|---|---:|{'---:|' * 8}"]
    for operator in sorted({version.split("-")[0] for version in VERSIONS}):
        names = [version for version in VERSIONS if version.split("-")[0] == operator]
        each = [tally.versions.get(name, Counts()) for name in names]
        summed = Counts()
        for counts in each:
            summed.add(counts)
        fewest = min(counts.accepted for counts in each)
        versions = ", ".join(name.split("-")[1] for name in names)
        lines.append(f"| {operator} | {versions} | {fewest:,} | {_cells(summed)} |")
    return "\n".join([*lines, f"| **all** | | | {_cells(tally.total)} |"])


def _opsets(tally: FuzzTally) -> str:
    lines = [f"| Opset | {_HEADER} |", f"|---|{'---:|' * 8}"]
    rows = sorted(tally.opsets.items(), key=lambda row: int(row[0]))
    return "\n".join([*lines, *(f"| {opset} | {_cells(counts)} |" for opset, counts in rows)])


def _reasons(tally: FuzzTally, most: int = 25) -> str:
    rows = Counter(tally.reasons).most_common()
    lines = ["| Refused, or broken, because | classifiers |", "|---|---:|"]
    lines += [f"| {reason} | {count:,} |" for reason, count in rows[:most]]
    return "\n".join([*lines, f"| {len(rows[most:])} more | {sum(count for _, count in rows[most:]):,} |"])


def _evaluators(tally: FuzzTally) -> str:
    lines = ["| Evaluated by | accepted classifiers | not evaluated |", "|---|---:|---:|"]
    for name in EVALUATORS:
        unknown = tally.unknown.get(name, 0)
        lines.append(f"| {name} | {tally.total.accepted - unknown:,} | {unknown:,} |")
    return "\n".join(lines)


def _cells(counts: Counts) -> str:
    return " | ".join(f"{count:,}" for count in asdict(counts).values())


def _exceptions() -> str:
    refused = ", ".join(sorted(BOX_BY_BOX))
    misread = "; ".join(f"{operator} {when}" for operator, (when, _) in MISREAD.items())
    return f"""No classifier may hold {refused}, which
are bounded on single boxes only. onnx's reference is not asked about files with what it computes otherwise than
ONNX Runtime, PyTorch and the specification: {misread}."""


def page(runs: list[Run]) -> str:
    lines = [
        "| Revision | seed | classifiers | led by | accepted | contradictions | software | processor |",
        "|---|---:|---|---|---:|---:|---|---|",
    ]
    lines += [
        f"| {r.revision} | {r.seed} | {r.first} to {r.last} | "
        f"{f'{len(r.leaders)} versions' if r.leaders else 'all versions'} | {r.tally.total.accepted:,} | "
        f"{r.tally.total.contradictions:,} | {r.software} | {r.processor} |"
        for r in runs
    ]
    listed = "\n".join(lines)
    return f"""# Fuzzing of whole classifiers

Made by `goodcert fuzz classifiers`, whose runs add up in `fuzzing.json`. A classifier is a random graph of few
nodes over all operators that have a rule, at a random opset, with what hides a difference: units that are silent
on nearly all images, maxima over all pixels, saturation, factors that cancel, weights that underflow, and what
optimizers fuse. Every one follows from its seed and number, and is led by a version of an operator, each in its
turn: by all of them, or by those that the runs before had in too few accepted classifiers (`--scarce`; the file of
numbers names them).

The engine is asked for certificates: of many images at epsilon 0, and of some at 0.05 and 1. The balls are
searched (grey, black, white, halves, noise, corners, images that the classifier was made to react to, and flips
that climb from the best of them) with the very file, by ONNX Runtime at every level of optimisation, by PyTorch
node by node, and at a few points by onnx's reference. A contradiction is a difference of two logits outside the
certified margins, a confidence outside the certified bounds, or NaN where something was guaranteed.

*Broken* is an engine that ends in anything but a refusal by name; *searched*, an accepted classifier that some
evaluator runs; *informative*, one of which some bound was below 1; *crown*, one whose linear bounds were held
against its values, too (runs before the column count 0). An operator's versions are the opsets that gave
it a new definition. One classifier of {WHOLE} goes the whole way of one that is served; of the others PyTorch
computes the bounds, by the same rules. {_exceptions()}

{table(total(runs))}

## Runs

{listed}
"""
