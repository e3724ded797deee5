"""From a trained network to the model file: ONNX, metadata, threshold, and proof that it can be certified."""

from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from goodcert import artifact, engine
from goodcert.bounds.joint import LOG_ODDS, head
from goodcert.bounds.writer import write_graph
from goodcert.training import checkpoint
from goodcert.training.graphs import deployed
from goodcert.training.methods import METHODS
from goodcert.training.recipes import Recipe

IN_DISTRIBUTION_SHARE = 0.95
"""How much of the held-out in-distribution has a confidence above the threshold."""


def export(
    net: nn.Module, recipe: Recipe, held_out: Tensor, path: Path, classifier: nn.Module | None = None
) -> Path:
    """Write the model file at `path`; held_out: uint8 (N, C, H, W) images used for the threshold only;
    classifier: what ProoD joins its discriminator with.

    Compiles the written graph first: ONNX Runtime and the bound engine must agree on it, or EngineError.
    """
    graph = deployed(net, recipe, classifier)
    model = write_graph(graph)
    certificates = engine.compile(model).certify(held_out.numpy(), 0.0)
    metadata = artifact.Metadata(
        labels=recipe.labels,
        height=recipe.size,
        width=recipe.size,
        color="grey" if recipe.color == "grey" else "rgb",
        epsilon=recipe.epsilon,
        threshold=threshold(certificates.confidence),
        method=recipe.method,
        head=LOG_ODDS if head(graph) else "",
        recipe={**asdict(recipe), "goodcert": version("goodcert"), "torch": version("torch")},
    )
    artifact.write(model, metadata, path)
    return path


def finished(recipe: Recipe, folder: Path) -> nn.Module:
    """What `recipe` trained, from its finished run in `folder`; raises FileNotFoundError for any other."""
    net = METHODS[recipe.method].network(recipe)
    net.load_state_dict(checkpoint.finished(folder))
    return net.eval()


def threshold(confidences: NDArray[np.float64]) -> float:
    """The largest of these confidences, or the number just below them all, that at least 95 % exceed."""
    if len(confidences) < 20:
        raise ValueError(f"got {len(confidences)} held-out images, expected at least 20 to set a threshold")
    below_all = np.nextafter(confidences.min(), 0)
    candidates = np.unique(np.append(confidences, below_all))
    exceeding = len(confidences) - np.searchsorted(np.sort(confidences), candidates, side="right")
    return float(candidates[exceeding >= IN_DISTRIBUTION_SHARE * len(confidences) - 1e-9].max())
