"""`goodcert evaluate MODEL... --data DIR`: measure model files; --out writes a report, --write their cards."""

import argparse
import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from goodcert import artifact
from goodcert.bounds.ball import parse_epsilon
from goodcert.engine import EngineError
from goodcert.evaluation import benchmarks, card
from goodcert.evaluation.attack import BUDGETS
from goodcert.evaluation.evaluate import ImageSets, Measured, UnsoundError, load, measure


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("models", nargs="+", type=Path, metavar="MODEL",
                        help="<name>/<version>/model.onnx or <name>/model.onnx")  # fmt: skip
    parser.add_argument("--data", type=Path, default=os.environ.get("GOODCERT_DATA"), metavar="DIR",
                        help="folder of the image packs (default: GOODCERT_DATA)")  # fmt: skip
    parser.add_argument("--out", type=Path, metavar="DIR",
                        help="write <benchmark>.html, .md and .json here; other rows stay")  # fmt: skip
    parser.add_argument("--adversarial", choices=["none", *BUDGETS], default="none",
                        help="attack too; short: minutes on a CPU, full: for a GPU (default: none)")  # fmt: skip
    parser.add_argument("--epsilon", metavar="E", help="radius in [0, 1] (default: the models')")
    parser.add_argument("--device", default="cpu", help="auto, cpu or cuda (default: cpu)")
    parser.add_argument("--write", action="store_true",
                        help="put the results into each file's metadata and write card.md beside it")  # fmt: skip


def run(options: argparse.Namespace) -> int:
    """0 done, 1 a model cannot be measured or its bounds do not hold, 2 wrong usage."""
    wrong = _wrong(options)
    if wrong:
        return _refuse(wrong, 2)
    try:
        models = [artifact.read(path) for path in options.models]
        epsilon = options.epsilon or _common_epsilon(models)
        parse_epsilon(epsilon)
        names = _names(options.models, models)
        images = load(models, options.data)
    except (artifact.ArtifactError, OSError, ValueError) as error:
        return _refuse(error, 2)
    if images.absent:
        absent = ", ".join(images.absent)
        print(f"goodcert evaluate: left out, as not in {options.data}: {absent}", file=sys.stderr)
    try:
        budget = BUDGETS.get(options.adversarial)
        measured = measure(models, images, epsilon, options.device, budget, sweep=bool(options.out))
    except (EngineError, UnsoundError) as error:
        return _refuse(error, 1)
    for name, one in zip(names, measured, strict=True):
        _print(name, one)
    if options.write:
        measured = [_write(path, one) for path, one in zip(options.models, measured, strict=True)]
    if options.out:
        _report(options, names, measured, images)
    return 0


def _refuse(reason: object, status: int) -> int:
    print(f"goodcert evaluate: {reason}")
    return status


def _wrong(options: argparse.Namespace) -> str | None:
    """What is wrong with the options, before any work is done."""
    if options.data is None:
        return "name the folder of the image packs with --data DIR or GOODCERT_DATA"
    if options.write and options.epsilon:
        return "--write keeps results at the model's own epsilon; leave --epsilon out"
    for path in options.models:
        if options.write and not _version(path).isdigit():
            return f"--write takes a file at <name>/<version>/model.onnx, got {path}"
    return None


def _names(paths: Sequence[Path], models: Sequence[artifact.Artifact]) -> list[str]:
    """What tables call the models: their folders, in full where that is the last part of the recipe's name, and
    with the version where one model comes in several."""
    recipes = [str(model.metadata.recipe.get("name")) for model in models]
    folders = [_folder(path) for path in paths]
    short = [r if r.split("/")[-1] == f else f for r, f in zip(recipes, folders, strict=True)]
    names = [f"{n}/{_version(p)}" if short.count(n) > 1 else n for n, p in zip(short, paths, strict=True)]
    if len(set(names)) != len(names):
        raise ValueError(
            f"models are told apart by their folders, expected names that differ, got {', '.join(names)}"
        )
    return names


def _folder(path: Path) -> str:
    """The name of the folder that the model, or its version, lies in."""
    folder = path.resolve().parent
    return folder.parent.name if folder.name.isdigit() else folder.name


def _version(path: Path) -> str:
    return path.resolve().parent.name


def _common_epsilon(models: Sequence[artifact.Artifact]) -> str:
    found = sorted({model.metadata.epsilon for model in models})
    if len(found) != 1:
        raise ValueError(f"the models have the radii {', '.join(found)}; choose one with --epsilon")
    return found[0]


def _print(name: str, measured: Measured) -> None:
    results = measured.results()
    print(f"{name} ({measured.artifact.metadata.method}): accuracy {results.accuracy:.2f} %, "
          f"accepted {results.accepted:.2f} %, mean confidence {results.mean_confidence:.4f}, "
          f"epsilon {results.epsilon}")  # fmt: skip
    print(card.table(results))


def _write(path: Path, measured: Measured) -> Measured:
    """The file and its card, rewritten; the measured model is then the one in the file."""
    model, results = measured.artifact, measured.results()
    artifact.write(model.model, replace(model.metadata, results=results.to_json()), path)
    command = f"goodcert evaluate {_folder(path)}/{_version(path)}/{path.name} --write"
    text = card.card(_folder(path), _version(path), model, results, command)
    path.with_name("card.md").write_text(text, encoding="utf-8")
    print(f"wrote {path} and {path.with_name('card.md')}")
    return replace(measured, artifact=artifact.read(path))


def _report(
    options: argparse.Namespace, names: Sequence[str], measured: Sequence[Measured], images: ImageSets
) -> None:
    from goodcert.evaluation import paper, report, results

    benchmark = benchmarks.of(measured[0].artifact.metadata)
    command = _command(options)
    own = [results.row(one, name, command) for name, one in zip(names, measured, strict=True)]
    data = options.out / f"{benchmark.name}.json"
    rows = results.merged(results.read(data), [*own, *paper.ROWS.get(benchmark.name, ())])
    title, introduction = f"Results on {benchmark.title}", results.introduction(benchmark.notes, rows)
    results.write(rows, data)
    data.with_suffix(".md").write_text(results.markdown(title, introduction, rows), encoding="utf-8")
    page = report.report(title, introduction, rows, list(zip(own, measured, strict=True)), images)
    data.with_suffix(".html").write_text(page, encoding="utf-8")
    print(f"wrote {data}, {data.with_suffix('.md').name} and {data.with_suffix('.html').name}")


def _command(options: argparse.Namespace) -> str:
    """What to type to measure the same again, without the folders of this machine."""
    files = " ".join(_shown(path, 3) for path in options.models)
    epsilon = f" --epsilon {options.epsilon}" if options.epsilon else ""
    device = f" --device {options.device}" if options.device != "cpu" else ""
    attack = f" --adversarial {options.adversarial}"
    return f"goodcert evaluate {files}{attack}{epsilon}{device} --out {_shown(options.out, 1)}"


def _shown(path: Path, parts: int) -> str:
    """As it was typed, or the last parts of an absolute path."""
    return str(Path(*path.parts[-parts:]) if path.is_absolute() else path)
