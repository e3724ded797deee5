"""A served model with its batchers, and the record of a model that was refused."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from goodcert.artifact import Metadata
from goodcert.engine import Method
from goodcert.images.preprocess import Prepared
from goodcert.serve.batching.batcher import Batcher
from goodcert.serve.core.errors import CrownUnavailable, UnsoundModel
from goodcert.serve.repository.predictor import Answer, CrownWork, IbpWork, ServingEngine

log = logging.getLogger("goodcert.serve")

ImageBatcher = Batcher[Prepared, Answer]
MakeBatcher = Callable[[IbpWork], ImageBatcher]
MakeCrownBatcher = Callable[[CrownWork, int], ImageBatcher]
"""The number: how many images CROWN bounds side by side."""


@dataclass(frozen=True)
class RefusedVersion:
    """A version of a model that is not served as it lies in the folder, and why; the version that was loaded from
    there before may be. unloaded: because somebody asked for that."""

    name: str
    version: str
    reason: str
    state: Literal["refused", "unloaded"] = "refused"


@dataclass(eq=False)
class ServedModel:
    """A model that answers. `sha256` is of its file. `sound` turns False once and stays so. crown_batcher: a queue
    of its own for what takes a hundred times longer; None where the model has no linear bounds.

    Whoever asks it something holds it, and so keeps it alive: replaced or unloaded, it ends with its last request.
    """

    name: str
    version: str
    metadata: Metadata
    sha256: str
    engine: ServingEngine
    batcher: ImageBatcher
    sound: bool = True
    crown_batcher: ImageBatcher | None = None

    def condemn(self, reason: object) -> None:
        """Take the model out of service: it contradicted itself, so nothing it says may be believed."""
        log.critical("model %s version %s broke its guarantee: %s", self.name, self.version, reason)
        self.sound = False

    def require_sound(self) -> None:
        if not self.sound:
            raise UnsoundModel(f"{self.name} version {self.version}")

    def require_method(self, method: Method) -> ImageBatcher:
        """The queue that is asked, by `auto` at first. Raises CrownUnavailable where the file has no linear
        bounds."""
        if method != "crown":
            return self.batcher
        if self.crown_batcher is None:
            raise CrownUnavailable(f"{self.name} version {self.version}")
        return self.crown_batcher

    @property
    def batchers(self) -> list[ImageBatcher]:
        return [batcher for batcher in (self.batcher, self.crown_batcher) if batcher is not None]
