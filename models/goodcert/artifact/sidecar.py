"""The sidecar: a TOML file `model.toml` beside a `model.onnx` that says nothing about itself.

It has the names of `Metadata`, and its values as TOML writes them; epsilon is text, as a decimal is not exact in
binary. What training records (recipe, results) and the version of the format belong to files that carry their own.
"""

import difflib
import tomllib
from dataclasses import MISSING, fields
from pathlib import Path

from goodcert.artifact.errors import ArtifactError
from goodcert.artifact.metadata import Metadata

NAME = "model.toml"
MOST_BYTES = 2**20

_NAMES = ("labels", "height", "width", "color", "resize", "epsilon", "threshold", "method", "head")
_NEEDED = tuple(f.name for f in fields(Metadata) if f.default is MISSING and f.default_factory is MISSING)


def beside(path: Path) -> Path:
    """Where the sidecar of a model file lies."""
    return path.parent / NAME


def parse(data: bytes) -> Metadata:
    """The metadata in a sidecar. Raises ArtifactError for a name that is missing or unknown, or a value that
    cannot be."""
    if len(data) > MOST_BYTES:
        raise ArtifactError(f"{NAME}: got {len(data)} bytes, expected at most {MOST_BYTES}")
    try:
        values = tomllib.loads(data.decode())
    except (ValueError, RecursionError) as error:
        raise ArtifactError(f"{NAME}: expected TOML: {str(error) or 'nested too deeply'}") from error
    for name in sorted(values.keys() - set(_NAMES)):
        closest = difflib.get_close_matches(name, _NAMES, n=1, cutoff=0)[0]
        raise ArtifactError(f"{NAME}: there is no {name!r}; the closest is {closest}")
    if missing := [name for name in _NEEDED if name not in values]:
        raise ArtifactError(f"{NAME}: missing {', '.join(missing)}")
    if isinstance(values["labels"], list):
        values["labels"] = tuple(values["labels"])
    return Metadata(**values)


def start(input_shape: tuple[int, int, int], classes: int) -> str:
    """A sidecar for a classifier of images (C, H, W), where what only its owner knows is left to fill in."""
    channels, height, width = input_shape
    labels = ", ".join(f'"class {k}"' for k in range(classes))
    return f"""\
labels = [{labels}]  # in the order of the logits
height = {height}
width = {width}
color = "{"grey" if channels == 1 else "rgb"}"
resize = "none"  # or "area" or "bilinear": how an image of another size becomes one of this; "none" refuses it
method = "Plain"  # how it was trained
# epsilon = "0.01"  # the default radius, pixels in [0, 1], as text
# threshold = 0.9  # the confidence that 95 % of held-out in-distribution images exceed
"""
