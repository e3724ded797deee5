"""`goodcert bench methods`: what each bound method decides and costs."""

import argparse
import os
from pathlib import Path

from goodcert import artifact, zoo
from goodcert.cli.bench import Result
from goodcert.evaluation import methods, speed


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", type=Path, default=os.environ.get("GOODCERT_DATA"), metavar="DIR",
                        help="folder of the image packs (default: GOODCERT_DATA)")  # fmt: skip
    parser.add_argument("--images", type=int, default=25, metavar="N", help="of each kind (default: 25)")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu", help="where bounds are computed")


def measure(options: argparse.Namespace) -> Result | str:
    if options.data is None:
        return "name the folder of the image packs with --data DIR or GOODCERT_DATA"
    model = artifact.read(zoo.folder() / "mnist-good100" / "1" / "model.onnx")
    images = methods.outliers(model.metadata, options.data, options.images)
    subjects = [
        methods.served(model, (0.05, 0.15, 0.3)),
        methods.ordinary(model.metadata, options.data, (0.005, 0.01, 0.03)),
    ]
    rows = [row for subject in subjects for row in methods.measure(subject, images, options.device)]
    table = methods.table(rows)
    return Result(table, _page(options, table))


def _page(options: argparse.Namespace, table: str) -> str:
    return f"""# What each bound method decides

Measured by `goodcert bench methods --images {options.images}` on {speed.hardware(options.device)}. Outliers \
of four kinds, the first {options.images} of each (grey CIFAR-10, notMNIST, Fashion-MNIST, letters), for two \
networks of the architecture S: version 1 of the default model, and one trained on digits and noise for \
{methods.STEPS} steps without any bound. Rejected: images whose confidence is at most the threshold. Percent: how \
many of them are certified, so that no change within epsilon is accepted either. With auto, crown \
is asked only about rejected images that ibp leaves uncertified.

{table}
"""
