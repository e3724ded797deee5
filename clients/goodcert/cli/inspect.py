"""`goodcert inspect FILE`: whether a model file can be bounded, and if not, which node stands in the way; whether
it says of itself what the service must know, and if not, how a sidecar says it."""

import argparse
from pathlib import Path

from goodcert import artifact, engine
from goodcert.artifact import sidecar
from goodcert.bounds.catalogue import Entry, catalogue
from goodcert.engine.admission import require_agreement


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", type=Path, nargs="?", help="an ONNX file")
    parser.add_argument(
        "--operators", action="store_true", help="list the operators that have a rule, and what it does"
    )


def run(options: argparse.Namespace) -> int:
    if options.operators or options.file is None:
        print(_operators())
        return 0
    try:
        compiled = engine.compile(options.file)
    except Exception as error:  # noqa: BLE001  whatever is wrong with a file is an answer here
        print(f"{options.file}: cannot be bounded: {error}")
        return 1
    print(f"{options.file}: can be bounded; input {compiled.input_shape}, {compiled.classes} classes")
    print(f"bound methods: {', '.join(compiled.methods)}{_without_crown(compiled)}")
    print(_metadata(options.file, compiled))
    return 0


def _operators() -> str:
    """A line for each: its name, what may vary, the rule, and the attributes that it understands."""
    header = [("operator", "varies", "rule, and attributes understood")]
    rows = [(row.operator, row.varies, _rule(row)) for row in catalogue()]
    widths = [max(len(row[column]) for row in (*header, *rows)) for column in range(2)]
    return "\n".join(f"{name:<{widths[0]}}  {varies:<{widths[1]}}  {rule}" for name, varies, rule in header + rows)


def _rule(row: Entry) -> str:
    return f"{row.does} ({', '.join(row.attributes)})" if row.attributes else row.does


def _without_crown(compiled: engine.Engine) -> str:
    return "" if compiled.without_crown is None else f"; no crown: {compiled.without_crown}"


def _metadata(path: Path, compiled: engine.Engine) -> str:
    """What the file, or the sidecar beside it, says; without either, a sidecar to start from."""
    try:
        metadata = artifact.read(path).metadata
        require_agreement(metadata, compiled.input_shape, compiled.classes, compiled.heads)
    except (artifact.ArtifactError, engine.EngineError) as error:
        start = sidecar.start(compiled.input_shape, compiled.classes)
        return (
            f"without usable metadata ({error})\n\nTo serve it, put this beside it as {sidecar.NAME}:\n\n{start}"
        )
    return f"method {metadata.method}, epsilon {metadata.epsilon}, threshold {metadata.threshold:.6f}"
