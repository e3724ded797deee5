"""`goodcert train RECIPE --data DIR`: from images to an ONNX file with its card."""

import argparse
import os
from pathlib import Path

import torch

from goodcert.training import datasets, export, loop
from goodcert.training.recipes import FAMILIES, RECIPES, Recipe


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("recipe", choices=_names(), metavar="RECIPE",
                        help=f"one of {', '.join(_names())}; without a slash after it, a data set's name "
                             "trains all of its rows, one after another")  # fmt: skip
    parser.add_argument("--full", action="store_true",
                        help="at the paper's length, with its optimiser and network: for a GPU")  # fmt: skip
    parser.add_argument("--data", type=Path, default=os.environ.get("GOODCERT_DATA"), metavar="DIR",
                        help="folder of the image packs (default: GOODCERT_DATA)")  # fmt: skip
    parser.add_argument("--runs", type=Path, default=Path("runs"), metavar="DIR",
                        help="where checkpoints and the result go (default: runs)")  # fmt: skip
    parser.add_argument("--device", default="cpu", help="cpu or cuda (default: cpu)")
    parser.add_argument("--threads", type=int, default=1, metavar="N", help="CPU threads (default: 1)")


def _names() -> list[str]:
    return [name for name in (*FAMILIES, *RECIPES) if not name.startswith("full/")]


def run(options: argparse.Namespace) -> int:
    if options.data is None:
        print("goodcert train: name the folder of the image packs with --data DIR or GOODCERT_DATA")
        return 2
    torch.set_num_threads(options.threads)
    name = f"full/{options.recipe}" if options.full else options.recipe
    if name not in FAMILIES and name not in RECIPES:
        print(f"goodcert train: {options.recipe} has one length only; leave out --full")
        return 2
    try:
        for recipe in FAMILIES[name] if name in FAMILIES else [RECIPES[name]]:
            _train(recipe, options)
    except (FileNotFoundError, ValueError) as error:  # no pack, no base, another recipe's checkpoint
        print(f"goodcert train: {error}")
        return 1
    return 0


def _train(recipe: Recipe, options: argparse.Namespace) -> None:
    folder, base = options.runs / recipe.name, options.runs / recipe.base if recipe.base else None
    joined = export.finished(RECIPES[recipe.base], base) if base and recipe.method == "ProoD" else None
    data = datasets.load(recipe, options.data)
    net = loop.train(recipe, data, folder, torch.device(options.device), None if joined else base)
    path = export.export(net.cpu().eval(), recipe, data.threshold, folder / "model.onnx", joined)
    print(f"wrote {path}; measure it with: goodcert evaluate {path} --data {options.data}", flush=True)
