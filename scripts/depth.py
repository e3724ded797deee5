"""Measure at which depth interval bounds say nothing on networks that were not trained for them: docs/depth.md."""

import sys
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from torch import nn

from goodcert.bounds import interval_outputs
from goodcert.bounds.ball import around
from goodcert.bounds.classifier import MarginModule
from goodcert.bounds.confidence import confidence_upper_bound
from goodcert.bounds.sequential import graph_of

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "tests"))
from lights import SHAPE, light  # noqa: E402  the graphs that the tests bound

EPSILONS = {"0": 0.0, "1/255": 1 / 255, "0.01": 0.01, "0.1": 0.1}
VACUOUS = 1 - 1e-3
IMAGES, SIZE, CHANNELS, WIDTH, DEEPEST = 16, 16, 16, 256, 24
PUBLISHED = {"squeezenet": 26, "inception_v1": 58}
"""With the layers of weights from the image to the classes, branches counted."""


def dense(depth: int) -> nn.Sequential:
    """`depth` hidden layers and the last."""
    sizes = [SIZE * SIZE, *[WIDTH] * depth]
    hidden = [layer for pair in pairwise(sizes) for layer in (nn.Linear(*pair), nn.ReLU())]
    return nn.Sequential(nn.Flatten(), *hidden, nn.Linear(WIDTH, 10))


def convolutional(depth: int) -> nn.Sequential:
    sizes = [1, *[CHANNELS] * depth]
    hidden = [layer for pair in pairwise(sizes) for layer in (nn.Conv2d(*pair, 3, padding=1), nn.ReLU())]
    return nn.Sequential(*hidden, nn.Flatten(), nn.Linear(CHANNELS * SIZE * SIZE, 10))


def initialise(net: nn.Sequential) -> nn.Sequential:
    """He et al., Delving deep into rectifiers, 2015, eq. 10; biases 0."""
    for layer in net:
        if isinstance(layer, nn.Linear | nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            nn.init.zeros_(layer.bias)
    return net


@torch.inference_mode()
def bounds(net: nn.Sequential, images: np.ndarray, epsilon: float) -> np.ndarray:
    """(N,) upper bounds on the confidence."""
    ball = around(images, epsilon)
    margins = MarginModule(graph_of(net, (1, SIZE, SIZE)))(*map(torch.from_numpy, ball[1:]))
    return confidence_upper_bound(margins.numpy())


def first_vacuous(make: Callable[[int], nn.Sequential], images: np.ndarray) -> Iterator[str]:
    """For each epsilon the fewest hidden layers at which the median bound is 1 to within a thousandth."""
    for epsilon in EPSILONS.values():
        vacuous = (str(n) for n in range(1, DEEPEST + 1) if _median(make(n), images, epsilon) >= VACUOUS)
        yield next(vacuous, f"> {DEEPEST}")


def _median(net: nn.Sequential, images: np.ndarray, epsilon: float) -> float:
    torch.manual_seed(0)
    return float(np.median(bounds(initialise(net), images, epsilon)))


def published(name: str) -> Iterator[str]:
    """For each epsilon the largest bound on a class at one image, under He's weights."""
    model, x = light(name, gain=1.0), np.random.default_rng(1).random(SHAPE, dtype=np.float32)
    for epsilon in EPSILONS.values():
        ball = around(x, epsilon)
        _, upper = interval_outputs(model, ball.lower, ball.upper)
        yield f"{min(1.0, float(upper[0].max())):.4f}"


def page() -> str:
    images = np.random.default_rng(0).random((IMAGES, 1, SIZE, SIZE), dtype=np.float32)
    kinds = {f"dense, {WIDTH} wide": dense, f"3x3 convolutions, {CHANNELS} channels": convolutional}
    head = " | ".join(f"epsilon {name}" for name in EPSILONS)
    line = "|---" * (len(EPSILONS) + 1) + "|"
    plain = "\n".join(f"| {kind} | {' | '.join(first_vacuous(make, images))} |" for kind, make in kinds.items())
    deep = "\n".join(
        f"| {name}, {layers} layers | {' | '.join(published(name))} |" for name, layers in PUBLISHED.items()
    )
    return f"""<!-- Measured by scripts/depth.py. -->
# At which depth interval bounds say nothing any more

Interval bounds are for networks that were trained for them. On plain ReLU networks with the random weights of He
et al. (2015) this is the number of hidden layers from which the guaranteed bound on the confidence is 1 to within
a thousandth (median of {IMAGES} noise images of {SIZE} x {SIZE} pixels, 10 classes). At epsilon 0 only rounding to
float32 is bounded.

| Network | {head} |
{line}
{plain}

Published ImageNet classifiers under such weights: the bound on the largest share of a class.

| Network | {head} |
{line}
{deep}
"""


if __name__ == "__main__":
    (ROOT / "docs/depth.md").write_text(page(), encoding="utf-8")
    print("wrote docs/depth.md")
