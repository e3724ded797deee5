"""`goodcert inspect FILE`: whether a model file can be bounded, and if not, which node stands in the way."""

import argparse
from pathlib import Path

from goodcert import artifact, engine
from goodcert.bounds.rules import RULES


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", type=Path, nargs="?", help="an ONNX file")
    parser.add_argument("--operators", action="store_true", help="list the operators that have a rule")


def run(options: argparse.Namespace) -> int:
    if options.operators or options.file is None:
        print("\n".join(sorted(RULES)))
        return 0
    try:
        compiled = engine.compile(options.file)
    except Exception as error:  # noqa: BLE001  whatever is wrong with a file is an answer here
        print(f"{options.file}: cannot be bounded: {error}")
        return 1
    print(f"{options.file}: can be bounded; input {compiled.input_shape}, {compiled.classes} classes")
    print(f"bound methods: {', '.join(compiled.methods)}{_without_crown(compiled)}")
    print(_metadata(options.file))
    return 0


def _without_crown(compiled: engine.Engine) -> str:
    return "" if compiled.without_crown is None else f"; no crown: {compiled.without_crown}"


def _metadata(path: Path) -> str:
    try:
        metadata = artifact.read(path).metadata
    except artifact.ArtifactError as error:
        return f"without usable metadata ({error})"
    return f"method {metadata.method}, epsilon {metadata.epsilon}, threshold {metadata.threshold:.6f}"
