"""`goodcert bench engine`: what the guarantee costs beside the prediction; `goodcert bench methods`: what each
bound method decides and costs. Measured here and now."""

import argparse
import os
from itertools import product
from pathlib import Path

from tqdm import tqdm

from goodcert import artifact, zoo
from goodcert.evaluation import methods, speed


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "what",
        choices=["engine", "methods"],
        help="engine: prediction and bound against prediction alone; methods: ibp, crown and auto",
    )
    parser.add_argument("--data", type=Path, default=os.environ.get("GOODCERT_DATA"), metavar="DIR",
                        help="methods: folder of the image packs (default: GOODCERT_DATA)")  # fmt: skip
    parser.add_argument("--images", type=int, default=25, metavar="N", help="methods: of each kind (default: 25)")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu", help="where bounds are computed")
    parser.add_argument("--nets", nargs="+", default=["S", "L"], metavar="NET", help="default: S L")
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 16, 64], metavar="N")
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2], metavar="N")
    parser.add_argument("--write", type=Path, metavar="FILE", help="write the page to this file too")


def run(options: argparse.Namespace) -> int:
    if options.what == "methods":
        return _methods(options)
    cases = list(product(options.nets, options.batches, options.threads))
    rows = [speed.measure(*case, options.device) for case in tqdm(cases, desc="bench engine", leave=False)]
    table = speed.table(rows)
    print(table)
    if options.write:
        options.write.write_text(_page(options, table), encoding="utf-8")
        print(f"wrote {options.write}")
    return 0


def _methods(options: argparse.Namespace) -> int:
    if options.data is None:
        print("goodcert bench methods: name the folder of the image packs with --data DIR or GOODCERT_DATA")
        return 2
    model = artifact.read(zoo.folder() / "mnist-good100" / "1" / "model.onnx")
    images = methods.outliers(model.metadata, options.data, options.images)
    subjects = [
        methods.served(model, (0.05, 0.15, 0.3)),
        methods.ordinary(model.metadata, options.data, (0.005, 0.01, 0.03)),
    ]
    rows = [row for subject in subjects for row in methods.measure(subject, images, options.device)]
    print(methods.table(rows))
    if options.write:
        options.write.write_text(_methods_page(options, methods.table(rows)), encoding="utf-8")
        print(f"wrote {options.write}")
    return 0


def _methods_page(options: argparse.Namespace, table: str) -> str:
    return f"""# What each bound method decides

Measured by `goodcert bench methods --images {options.images}` on {speed.hardware(options.device)}. Outliers \
of four kinds, the first {options.images} of each (grey CIFAR-10, notMNIST, Fashion-MNIST, letters), for two \
networks of the architecture S: the default model, and one trained on digits and noise for {methods.STEPS} \
steps without any bound. Rejected: images whose confidence is at most the threshold. Percent: how many of \
them are certified, so that no change within epsilon is accepted either. With auto, crown \
is asked only about rejected images that ibp leaves uncertified.

{table}
"""


def _page(options: argparse.Namespace, table: str) -> str:
    command = f"goodcert bench engine --device {options.device}"
    return (
        f"# What the guarantee costs\n\nMeasured by `{command}` on {speed.hardware(options.device)}. Medians of "
        f"interleaved runs; ratios hold, absolute times vary with the machine.\n\n{table}\n"
    )
