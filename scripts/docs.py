"""Write the pages of docs/ that are made from the code; with --check, only say which are out of date."""

import json
import sys
from pathlib import Path

from goodcert.bounds.catalogue import catalogue
from goodcert.engine import assumptions
from goodcert.serve.http import problems
from goodcert.serve.settings import settings
from goodcert.serve.telemetry import metrics

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
    old = [name for name, text in pages().items() if not same(DOCS / name, text)]
    if "--check" in sys.argv[1:]:
        print("\n".join(f"docs/{name} is out of date; run scripts/docs.py" for name in old))
        return int(bool(old))
    for name in old:
        (DOCS / name).write_text(pages()[name], encoding="utf-8")
        print(f"wrote docs/{name}")
    return 0


def same(path: Path, text: str) -> bool:
    return path.exists() and path.read_text(encoding="utf-8") == text


if __name__ == "__main__":
    sys.exit(main())
