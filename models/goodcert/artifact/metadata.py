"""What a model file says about itself, in the `goodcert.*` entries of its `metadata_props`."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal

from goodcert.artifact.errors import ArtifactError

PREFIX = "goodcert."
FORMAT_VERSION = 1

MOST_NESTED = 32
MOST_TEXT = 2**16
MOST_LABELS = 2**16


@dataclass(frozen=True)
class Metadata:
    """The facts a service needs beside the graph, and the record of how the model came to be.

    labels: one name per class, in the order of the logits.
    height, width: of the input, in pixels.
    color: `grey` (one channel) or `rgb` (three).
    resize: how an image of another size becomes one of this size; `none` refuses it.
    epsilon: default radius of the l-infinity ball, pixels in [0, 1], as the decimal it was given in.
    threshold: the confidence that 95 % of held-out in-distribution images exceed.
    method: the training method in the paper's notation, such as `GOOD_100`.
    recipe: every setting of the training run, with the seed.
    results: what `goodcert evaluate` measured.
    head: of a joint model, the value in the graph that is its discriminator's log-odds, from which alone its bound
    comes; "" for any other. Left out of the file where it is "".
    """

    labels: tuple[str, ...]
    height: int
    width: int
    color: Literal["grey", "rgb"]
    epsilon: str
    threshold: float
    method: str
    resize: Literal["none", "area", "bilinear"] = "none"
    recipe: Mapping[str, Any] = field(default_factory=dict)
    results: Mapping[str, Any] = field(default_factory=dict)
    format_version: int = FORMAT_VERSION
    head: str = ""

    def __post_init__(self) -> None:
        for name, kind in _KINDS.items():
            got = getattr(self, name)
            _require(isinstance(got, kind) and not isinstance(got, bool), name, got, f"a value of type {kind}")
            _require_plain(name, got)
        _require(all(isinstance(label, str) for label in self.labels), "labels", self.labels, "names")
        _require(self.format_version == FORMAT_VERSION, "format_version", self.format_version, FORMAT_VERSION)
        _require(self.color in ("grey", "rgb"), "color", self.color, "grey or rgb")
        _require(self.resize in ("none", "area", "bilinear"), "resize", self.resize, "none, area or bilinear")
        _require(len(self.labels) >= 2, "labels", self.labels, "at least two names")
        _require(len(self.labels) <= MOST_LABELS, "labels", len(self.labels), f"at most {MOST_LABELS} names")
        _require(len(set(self.labels)) == len(self.labels), "labels", self.labels, "names that differ")
        _require(0 < self.threshold < 1, "threshold", self.threshold, "a confidence in (0, 1)")
        _require(self.height > 0 and self.width > 0, "size", (self.height, self.width), "positive pixels")

    @property
    def channels(self) -> int:
        return 1 if self.color == "grey" else 3

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """(C, H, W) of one image."""
        return self.channels, self.height, self.width

    def to_props(self) -> dict[str, str]:
        """The entries of `metadata_props`: strings as they are, everything else as JSON."""
        return {
            PREFIX + name: value if isinstance(value, str) else json.dumps(value)
            for name, value in asdict(self).items()
            if name != "head" or value
        }

    @classmethod
    def from_props(cls, props: Mapping[str, str]) -> "Metadata":
        """Read the entries back; raises ArtifactError for one that is missing, unknown or malformed."""
        own = {name.removeprefix(PREFIX): text for name, text in props.items() if name.startswith(PREFIX)}
        known = {f.name for f in fields(cls)}
        missing = known - own.keys() - {"head"}
        if missing or own.keys() - known:
            raise ArtifactError(
                f"metadata: missing {sorted(missing)}, unknown {sorted(own.keys() - known)}; write the file with "
                "goodcert.artifact.write, or a sidecar beside it as `goodcert inspect` shows"
            )
        values = {name: _parse(name, text) for name, text in own.items()}
        if isinstance(values["labels"], list):
            values["labels"] = tuple(values["labels"])
        return cls(**values)


_KINDS: Mapping[str, type] = {
    "labels": tuple,
    "height": int,
    "width": int,
    "epsilon": str,
    "method": str,
    "threshold": float,
    "recipe": Mapping,
    "results": Mapping,
    "format_version": int,
    "head": str,
}
_TEXT = frozenset({"color", "resize", "epsilon", "method", "head"})


def _parse(name: str, text: str) -> Any:
    if name in _TEXT:
        return text
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ArtifactError(f"metadata {PREFIX}{name}: expected JSON, got {text[:60]!r}") from error


def _require_plain(name: str, value: object, depth: int = 0) -> None:
    """Whatever is served must fit into JSON as everyone reads it: Unicode, numbers of 64 bits, and no bombs."""
    _require(depth <= MOST_NESTED, name, "more", f"nesting of at most {MOST_NESTED}")
    match value:
        case str():
            _require(len(value) <= MOST_TEXT, name, f"{len(value)} characters", f"at most {MOST_TEXT}")
            _require(not any("\ud800" <= c <= "\udfff" for c in value), name, ascii(value[:60]), "Unicode text")
        case int():
            _require(abs(value) < 2**63, name, "a larger one", "whole numbers of 64 bits")
        case Mapping():
            for key, entry in value.items():
                _require_plain(name, key, depth + 1)
                _require_plain(name, entry, depth + 1)
        case list() | tuple():
            for entry in value:
                _require_plain(name, entry, depth + 1)


def _require(holds: bool, name: str, got: object, expected: object) -> None:
    if not holds:
        raise ArtifactError(f"metadata {PREFIX}{name}: got {_short(got)}, expected {expected}")


def _short(got: object) -> str:
    text = repr(got)
    return text if len(text) <= 200 else text[:200] + "..."
