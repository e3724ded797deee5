"""What is known of the kernels of every function: as a table, and as a file from which the work goes on."""

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from goodcert.bounds.rounding import FLOAT32
from goodcert.bounds.transcendental import ABSOLUTE
from goodcert.evaluation.accuracy import COUNT, REFERENCE, Tally, numbers, places, reference_error, spread
from goodcert.evaluation.functions import FUNCTIONS, Deployed
from goodcert.evaluation.kernels import ROW, Kernel
from goodcert.evaluation.sweep import NEIGHBOURS, PLACES, SHARE, WORST, Places, Sweep, Worst, every_place


@dataclass(frozen=True)
class Finding:
    """One kernel of one function. stride: every so many-th input was tried. reference: the largest error of the
    float64 values at the worst inputs and everywhere, as a share of the allowance."""

    function: str
    runtime: str
    stride: int
    tally: Tally
    places: Places
    reference: float

    @property
    def holds(self) -> bool:
        """Whether the kernel is as the proofs need it, as far as was looked."""
        return max(self.tally.share, self.places.share) <= 1


def conclude(function: Deployed, kernels: Iterable[Kernel], stride: int, done: Sweep) -> list[Finding]:
    """What remains to be done when every input was tried: the places, and the float64 values."""
    findings = []
    for kernel, tally, worst in zip(kernels, done.tallies, done.worst, strict=True):
        x = worst.x[np.argsort(-worst.share)]
        error = reference_error(function, np.concatenate([x, spread(function, WORST)]))
        where = every_place(function, kernel, x[:NEIGHBOURS])
        findings.append(Finding(function.name, kernel.runtime, stride, tally, where, error))
    return findings


# --- the file -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class State:
    """hardware: what the findings were made on. sweeps: those begun and not concluded, by function and stride."""

    hardware: str
    findings: tuple[Finding, ...] = ()
    sweeps: Mapping[tuple[str, int], Sweep] = field(default_factory=dict)

    def knows(self, function: str, stride: int) -> bool:
        """Whether as many inputs of the function were tried, or more."""
        return any(f.function == function and f.stride <= stride for f in self.findings)

    def begun(self, function: str, stride: int, so_far: Sweep) -> "State":
        return replace(self, sweeps={**self.sweeps, (function, stride): so_far})

    def concluded(self, function: str, stride: int, found: Iterable[Finding]) -> "State":
        kept = [f for f in self.findings if f.function != function]
        findings = sorted([*kept, *found], key=lambda f: list(FUNCTIONS).index(f.function))
        rest = {key: value for key, value in self.sweeps.items() if key != (function, stride)}
        return replace(self, findings=tuple(findings), sweeps=rest)

    def write(self, path: Path) -> None:
        """In one piece: a process that is ended leaves the file before."""
        sweeps = [
            {"function": name, "stride": stride, "done": s.done, "tallies": [asdict(t) for t in s.tallies]}
            | {"worst": [[places(w.x).tolist(), w.share.tolist()] for w in s.worst]}
            for (name, stride), s in self.sweeps.items()
        ]
        told = {"hardware": self.hardware, "findings": [asdict(f) for f in self.findings], "sweeps": sweeps}
        beside = path.with_name(path.name + ".new")
        beside.write_text(json.dumps(told), encoding="utf-8")
        os.replace(beside, path)


def read(path: Path, hardware: str) -> State:
    """The state in the file, or an empty one if there is none. Raises ValueError for a file of other hardware or
    versions, whose findings do not go with new ones."""
    if not path.exists():
        return State(hardware)
    told = json.loads(path.read_text(encoding="utf-8"))
    if told["hardware"] != hardware:
        raise ValueError(f"{path} is of {told['hardware']}, and this is {hardware}; give another --state")
    findings = (
        Finding(**{**f, "tally": Tally(**f["tally"]), "places": Places(**f["places"])}) for f in told["findings"]
    )
    return State(hardware, tuple(findings), {(s["function"], s["stride"]): _sweep(s) for s in told["sweeps"]})


def _sweep(told: Mapping[str, Any]) -> Sweep:
    worst = (Worst(numbers(np.array(at, np.int64)), np.array(share, np.float64)) for at, share in told["worst"])
    return Sweep(told["done"], tuple(Tally(**tally) for tally in told["tallies"]), tuple(worst))


# --- the table ----------------------------------------------------------------------------------------


_COLUMNS = (
    "function", "runtime", "inputs", "error (ulp)", "allowed, of \\|f\\|", "left (2^-21)", "allowed (2^-21)",
    "share of the allowance", "at", "falls", "misrounded", "other by place", "holds",
)  # fmt: skip


def table(findings: Iterable[Finding]) -> str:
    lines = [f"| {' | '.join(_COLUMNS)} |", f"|---|---|{'---:|' * (len(_COLUMNS) - 3)}---|"]
    return "\n".join([*lines, *map(_line, findings)])


def _line(finding: Finding) -> str:
    function, tally = FUNCTIONS[finding.function], finding.tally
    cells = [
        finding.function,
        finding.runtime,
        "all" if finding.stride == 1 else f"{tally.inputs:,}",
        f"{tally.ulp:.3g}",
        f"{function.relative / FLOAT32.unit:.0f} u",
        f"{tally.rest / ABSOLUTE:.2g}",
        f"{function.absolute / ABSOLUTE:.3g}" + (" \\|x\\|" if function.scaled else ""),
        f"{max(tally.share, finding.places.share):.1%}",
        f"{tally.worst:.9g}",
        f"{tally.falls:,}" if function.increasing else "",
        f"{tally.misrounded:,}" if function.algebraic else "",
        f"{finding.places.differing:,}",
        "yes" if finding.holds else "**no**",
    ]
    return f"| {' | '.join(cells)} |"


def _share_of(stride: int) -> str:
    return "all" if stride == 1 else f"every {stride:,}th"


def _functions(state: State, stride: int) -> list[str]:
    return list(dict.fromkeys(f.function for f in state.findings if f.stride == stride))


def page(state: State) -> str:
    strides = sorted({f.stride for f in state.findings})
    tried = [f"- {_share_of(stride)}: {', '.join(_functions(state, stride))}." for stride in strides]
    listed = "\n".join(tried)
    error = max((f.reference for f in state.findings), default=0.0)
    placed = max((f.places.inputs for f in state.findings), default=0)
    return f"""# Float32 kernels of single functions

Made by `goodcert bench transcendental` on {state.hardware},
with the vectors of {torch.backends.cpu.get_cpu_capability()}.
It ends with status 1 if a kernel is not as the proofs need it.

Of the {COUNT:,} float32 numbers there were tried, where the function has a value,

{listed}

{table(state.findings)}

u is 2^-24. The proofs (bounds/transcendental.py, bounds/rounding.py) allow an error of so many u |f(x)|, an
absolute term, and 2^-100; *left* is the largest part of an error that the first does not cover. A unit in the last
place (ulp) is that of f(x), or of 2^-100 where that is larger; it says little where f(x) vanishes and the
allowance is absolute. Inputs and values above 2^70 in size are tried too, and not counted: no model with such
values is certified. A fall is a result below that for the input tried before, where f never decreases; the rules
do not rely on there being none, nor on roots and quotients that are rounded to nearest: *misrounded* says how many
are not.

Vectors end with values that fill no register of 16, 8 or 4, and every input that was tried was seen in a
register. Besides, up to {placed:,} inputs (every {SHARE}th, and those beside the worst {NEIGHBOURS:,}) were seen
in each of {PLACES} places of a long vector and in each of the {ROW} of a short one: *other by place* counts
results there that were not the same bits as in the first place, and the share of the allowance is the largest
among all of them.

f(x) is computed in float64. At the {WORST:,} worst inputs of each kernel and at {WORST:,} from everywhere,
arbitrary precision (mpmath) finds it wrong by at most {error:.1e} of the allowance; {REFERENCE:.1e} of it is added
to every error.

Pow is tried with positive bases and the exponents named, Div with a divisor that is another float32 for each
numerator, Elu, Celu, Selu and Swish with the parameters that are their defaults.
"""
