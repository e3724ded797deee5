"""Loading a model: from its files to a model that serves, or to the reason why it is refused.

A file that may come from a stranger is examined in the sandbox first; then it is read, compiled, and tried on
random images, and its metadata must agree with its graph. Compiling runs batches of every size (warm-up), so the
first request is not slower.
"""

import logging
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import dataclass

from goodcert.artifact import parse
from goodcert.engine.admission import require_agreement
from goodcert.engine.sandbox.parent import Sandbox, plain
from goodcert.engine.threads import at_once
from goodcert.serve.repository.files import Files, Place, read
from goodcert.serve.repository.model import (
    MakeBatcher,
    MakeCrownBatcher,
    RefusedVersion,
    ServedModel,
)
from goodcert.serve.repository.predictor import Compile, CrownWork, IbpWork

log = logging.getLogger("goodcert.serve")

Examine = Callable[[bytes, bytes | None], None]
"""Raises ValueError with the reason why a model file and its sidecar must not be loaded."""


@dataclass(frozen=True)
class Loader:
    """sandbox: where files are examined before they are loaded; None for files that are trusted, as those that
    were installed with goodcert. most_bytes: that a file may have."""

    compile: Compile
    device: str
    threads: int | None
    make_batcher: MakeBatcher
    make_crown_batcher: MakeCrownBatcher
    sandbox: Callable[[], Sandbox] | None = None
    most_bytes: int = 2**31 - 1

    def load(self, places: Iterable[Place]) -> list[ServedModel | RefusedVersion]:
        """Each of them, in order, one after another: what is being loaded takes the memory of one model."""
        with ExitStack() as stack:
            examine = stack.enter_context(self.sandbox()).examine if self.sandbox else _trust
            return [self._attempt(place, examine) for place in places]

    def _attempt(self, place: Place, examine: Examine) -> ServedModel | RefusedVersion:
        try:
            model = self._serve(place, examine)
        except ValueError as error:  # the reasons of ArtifactError and EngineError are written for people
            reason = plain(str(error))
            log.error("model %s version %s is refused: %s", *map(plain, place.key), reason)
            return RefusedVersion(*place.key, reason)
        except Exception:
            log.exception("model %s version %s is refused", *map(plain, place.key))
            return RefusedVersion(*place.key, "it could not be loaded; the log has the details")
        log.info("model %s version %s is served on %s", *place.key, model.engine.device)
        return model

    def _serve(self, place: Place, examine: Examine) -> ServedModel:
        """The very bytes that were examined are loaded: the file is read once."""
        files: Files = read(place, self.most_bytes)
        examine(*files)
        artifact = parse(*files)
        engine = self.compile(artifact.model, device=self.device, threads=self.threads)
        require_agreement(artifact.metadata, engine.input_shape, engine.classes, engine.heads)
        batcher = self.make_batcher(IbpWork(engine))
        crown = None
        if "crown" in engine.methods:
            crown = self.make_crown_batcher(CrownWork(engine), at_once(engine.device, self.threads))
        return ServedModel(*place.key, artifact.metadata, artifact.sha256, engine, batcher, crown_batcher=crown)


def _trust(_: bytes, __: bytes | None) -> None:
    """For files that need no examination."""
