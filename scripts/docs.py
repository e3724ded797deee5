"""Write the pages of docs/ that are made from the code; with --check, only say which are out of date."""

import json
import sys
from pathlib import Path

import onnxruntime

from goodcert.bounds.catalogue import catalogue
from goodcert.engine import assumptions
from goodcert.serve.http import problems
from goodcert.serve.settings import settings
from goodcert.serve.telemetry import metrics

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
from disagreements import KINDS, Disagreement, Reading, Rejection, read, refusal

DOCS = Path(__file__).parent.parent / "docs"
MADE = "<!-- Made from the code by scripts/docs.py. -->\n"


def operators() -> str:
    rows = [
        f"| {row.operator} | {cell(row.does)} | {row.varies} | {', '.join(row.attributes) or 'none'} |"
        for row in catalogue()
    ]
    table = ["| Operator | Rule | Operands that may vary | Attributes understood |", "|---|---|---|---|", *rows]
    return "\n".join([*table, "", conformance()])


def cell(text: str) -> str:
    """Bars end a cell."""
    return text.replace("|", "\\|")


def conformance() -> str:
    told = json.loads((DOCS / "conformance.json").read_text(encoding="utf-8"))
    total = told["contained"] + told["refused"] + told["skipped"]
    refused = ", ".join(f"{name} {count}" for name, count in told["operators"].items())
    return f"""## Conformance

Of the {total} float32 cases among the node, simple and PyTorch tests that ship with onnx {told["onnx"]},
{told["contained"]} are bounded: the stored answer lies inside (of a single operator within a thousandth of its
size), whatever ONNX Runtime computes at sampled points of a box does, and the bounds of the box are wider than
those of the point. {told["refused"]} are refused by name, {told["skipped"]} holds NaN in its input, none is wrong.
`scripts/conformance.py` measures it, and the tests compare.

Refused, by operator: {refused}.
"""


def refusals() -> str:
    parts = []
    for kind in KINDS:
        rows = [
            f"| {cell(entry.name)} | {cell(entry.does)} | {cell(readings(entry))} | {cell(outcome(entry))} |"
            for entry in kind.entries
        ]
        table = ["| file | what it says | who reads it how | here |", "|---|---|---|---|", *rows]
        parts.append("\n".join([f"## {kind.title}\n\nInstead: {kind.instead}\n", *table]))
    return "\n\n".join(parts) + "\n"


def readings(entry: Disagreement) -> str:
    first, *others = ((tool, read(entry, tool)) for tool in entry.tools)
    told = [f"{first[0]} {reading(first[1])}"]
    for tool, made in others:
        same = reading(made) == reading(first[1])
        told.append(f"{tool} {'computes others' if same else reading(made)}")
    return "; ".join(told)


def reading(made: Reading) -> str:
    """Of many numbers how many: they may differ by what a processor rounds."""
    if isinstance(made, Rejection):
        return "refuses it"
    if isinstance(made, tuple) or not made.size:
        sizes = made if isinstance(made, tuple) else made.shape
        return f"gives shape ({', '.join('N' if size is None else str(size) for size in sizes)})"
    if made.size > FEW:
        return f"computes {made.size} numbers"
    return f"computes {', '.join(f'{value:.4g}' for value in made.ravel())}"


FEW = 12


def outcome(entry: Disagreement) -> str:
    """The reason as it is given, without the version of ONNX Runtime."""
    reason = refusal(entry).replace(f" {onnxruntime.__version__}", "")
    return f"`{reason}`" if reason else "bounded, for every one of them"


def pages() -> dict[str, str]:
    """By file name."""
    return {
        "settings.md": page(
            "Settings",
            "Each is a flag of `goodcert serve`, an environment variable or an entry of the TOML file named by "
            "`config`, in this order. A name that is not in the table is refused; what "
            "Kubernetes sets for a Service named `goodcert`, or `goodcert-...`, is no setting and ignored with a "
            "warning: `*_SERVICE_HOST`, `*_SERVICE_PORT*`, `*_PORT_<number>_<TCP, UDP or SCTP>*`, and a `*PORT` "
            "that holds an address (`tcp://...`).",
            settings.table_markdown(),
        ),
        "metrics.md": page("Metrics", "Served at `/metrics`.", metrics.table_markdown()),
        "errors.md": page(
            "Errors",
            "Every error is a problem document (RFC 9457, `application/problem+json`) with one of these codes; "
            'under `/v2` it is `{"error": "..."}` with the same status.',
            f"{problems.table_markdown()}\n## The classes\n\nAs the service raises them. Those without a code are "
            f"families, which are caught and never raised.\n\n{problems.tree_markdown()}",
        ),
        "assumptions.md": page(
            "Assumptions",
            "What the proofs in the docstrings of the bounds assume of the world, which step needs it, and what "
            "watches it: whenever a model is loaded, in the tests, or by a command. Paths are inside "
            "`models/goodcert` and `service/goodcert`.",
            assumptions.table_markdown(),
        ),
        "refusals.md": page(
            "What is refused because tools read it differently",
            "A certificate is about a file, whoever runs it. Where ONNX Runtime (at any level of optimisation),"
            " onnx's shape inference, checker and reference, and PyTorch make something else of a file, it is "
            "refused, by node where there is one, or the bounds enclose what each of them computes. Every row "
            "is a small model in `tests/disagreements`, on which the tests show that the tools disagree, and "
            "how it is refused. What they say here was written down by running them on pixels of 1, 2, 3, ..., "
            "or, where it is about roundings, on some that show it.",
            refusals(),
        ),
        "operators.md": page(
            "Operators",
            "ONNX operators that have a sound rule, in the standard domain, float32, opsets 7 to 28. Constant, "
            "Dropout, Shape and what is computed from shapes and whole numbers vanish first, BatchNormalization "
            "goes into the layer before it where it can, and a final Softmax is cut. Anything else is refused at "
            "load, by node and operator.",
            operators(),
        ),
    }


def page(title: str, lead: str, table: str) -> str:
    return f"{MADE}# {title}\n\n{lead}\n\n{table}"


def main() -> int:
    made = pages()
    old = [name for name, text in made.items() if not same(DOCS / name, text)]
    if "--check" in sys.argv[1:]:
        print("\n".join(f"docs/{name} is out of date; run scripts/docs.py" for name in old))
        return int(bool(old))
    for name in old:
        (DOCS / name).write_text(made[name], encoding="utf-8")
        print(f"wrote docs/{name}")
    return 0


def same(path: Path, text: str) -> bool:
    return path.exists() and path.read_text(encoding="utf-8") == text


if __name__ == "__main__":
    sys.exit(main())
