"""`goodcert evaluate FILE --data DIR`: measure a model file; with --write, make its card."""

import argparse
import os
from dataclasses import replace
from pathlib import Path

from goodcert import artifact
from goodcert.evaluation import card
from goodcert.evaluation.evaluate import evaluate
from goodcert.evaluation.measures import Results


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", type=Path, help="the model, <name>/<version>/model.onnx")
    parser.add_argument("--data", type=Path, default=os.environ.get("GOODCERT_DATA"), metavar="DIR",
                        help="folder of the image packs (default: GOODCERT_DATA)")  # fmt: skip
    parser.add_argument("--device", default="cpu", help="auto, cpu or cuda (default: cpu)")
    parser.add_argument("--write", action="store_true",
                        help="put the results into the file's metadata and write card.md beside it")  # fmt: skip


def run(options: argparse.Namespace) -> int:
    if options.data is None:
        print("goodcert evaluate: name the folder of the image packs with --data DIR or GOODCERT_DATA")
        return 2
    model = artifact.read(options.file)
    results = evaluate(model, options.data, options.device)
    print(f"accuracy {results.accuracy:.2f} %, accepted {results.accepted:.2f} %, epsilon {results.epsilon}")
    print(card.table(results))
    if options.write:
        return _write(options.file, model, results)
    return 0


def _write(path: Path, model: artifact.Artifact, results: Results) -> int:
    artifact.write(model.model, replace(model.metadata, results=results.to_json()), path)
    *_, name, version, _ = path.resolve().parts
    if not version.isdigit():
        print(f"goodcert evaluate: --write takes a file at <name>/<version>/model.onnx, got {path}")
        return 2
    command = f"goodcert evaluate {name}/{version}/{path.name} --write"
    path.with_name("card.md").write_text(card.card(name, version, model, results, command), encoding="utf-8")
    print(f"wrote {path} and {path.with_name('card.md')}")
    return 0
