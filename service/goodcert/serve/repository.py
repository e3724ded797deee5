"""Which models are served: found in a folder, read, compiled, or refused with the reason."""

import logging
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from goodcert.artifact import Artifact, Metadata, read
from goodcert.bounds.ball import parse_epsilon
from goodcert.engine import Method
from goodcert.serve.batching import Batcher
from goodcert.serve.errors import CrownUnavailable, UnknownModel, UnsoundModel
from goodcert.serve.predictor import Answer, Compile, Engine, predict
from goodcert.serve.preprocess import Prepared
from goodcert.serve.settings import SettingsError

log = logging.getLogger("goodcert.serve")

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]*", re.ASCII)
_VERSION = re.compile(r"0|[1-9][0-9]{0,8}", re.ASCII)

ImageBatcher = Batcher[Prepared, Answer]
MakeBatcher = Callable[[Callable[[list[Prepared]], Sequence[Answer | Exception]]], ImageBatcher]


@dataclass(frozen=True)
class Refused:
    """A model that is not served, and why."""

    name: str
    version: str
    reason: str


@dataclass(eq=False)
class ServedModel:
    """A model that answers. `sha256` is of its file. `sound` turns False once and stays so. crown_batcher: a queue
    of its own for what takes a hundred times longer; None where the model has no linear bounds."""

    name: str
    version: str
    metadata: Metadata
    sha256: str
    engine: Engine
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

    def require_method(self, method: Method) -> None:
        """Raises CrownUnavailable."""
        if method == "crown" and self.crown_batcher is None:
            raise CrownUnavailable(f"{self.name} version {self.version}")

    @property
    def batchers(self) -> list[ImageBatcher]:
        return [batcher for batcher in (self.batcher, self.crown_batcher) if batcher is not None]


class Repository:
    """The models, by name and version, newest version first."""

    def __init__(self, models: Iterable[ServedModel], refused: Iterable[Refused] = ()) -> None:
        self.refused = tuple(refused)
        self._models: dict[str, dict[str, ServedModel]] = {}
        for model in sorted(models, key=lambda model: (model.name, -int(model.version))):
            self._models.setdefault(model.name, {})[model.version] = model

    @property
    def names(self) -> frozenset[str]:
        return frozenset(self._models)

    def versions(self, name: str) -> list[ServedModel]:
        """Every served version, newest first. Raises UnknownModel."""
        if name not in self._models:
            raise UnknownModel(name)
        return list(self._models[name].values())

    def get(self, name: str, version: str | None = None) -> ServedModel:
        """The model, in its newest version unless one is named. Raises UnknownModel."""
        if version is None:
            return self.versions(name)[0]
        try:
            return self._models[name][version]
        except KeyError as error:
            raise UnknownModel(f"{name} version {version}") from error

    def all(self) -> list[ServedModel]:
        return [model for versions in self._models.values() for model in versions.values()]

    def ready(self) -> bool:
        """Whether there is a model, and none that broke its guarantee."""
        models = self.all()
        return bool(models) and all(model.sound for model in models)

    async def close(self) -> None:
        """Let every model finish what it has."""
        for model in self.all():
            for batcher in model.batchers:
                await batcher.close()


@dataclass(frozen=True)
class Loader:
    """How a file becomes a served model."""

    compile: Compile
    device: str
    threads: int | None
    make_batcher: MakeBatcher
    make_crown_batcher: MakeBatcher

    def load(self, root: Path) -> Repository:
        """Every model under `root`. Raises SettingsError when there is no such folder."""
        if not root.is_dir():
            raise SettingsError(f"models: got {root}, expected a folder of <name>/<version>/model.onnx")
        models, refused = [], []
        for name, version, path in _scan(root):
            try:
                models.append(self._serve(name, version, _inside(path, root)))
            except ValueError as error:  # the reasons of ArtifactError and EngineError are written for people
                refused.append(Refused(name, version, str(error)))
                log.error("model %s version %s is refused: %s", name, version, error)
            except Exception:
                refused.append(Refused(name, version, "it could not be loaded; the log has the details"))
                log.exception("model %s version %s is refused", name, version)
        return Repository(models, refused)

    def _serve(self, name: str, version: str, path: Path) -> ServedModel:
        artifact = read(path)
        engine = self.compile(artifact.model, device=self.device, threads=self.threads)
        _require_agreement(artifact, engine)
        batcher = self.make_batcher(partial(predict, engine))
        has_crown = "crown" in engine.methods
        crown = self.make_crown_batcher(partial(predict, engine, method="crown")) if has_crown else None
        log.info("model %s version %s is served on %s", name, version, engine.device)
        return ServedModel(name, version, artifact.metadata, artifact.sha256, engine, batcher, crown_batcher=crown)


def _scan(root: Path) -> Iterator[tuple[str, str, Path]]:
    """(name, version, file) of every folder two levels down; hidden and private folders are not looked at."""
    for folder in _folders(root):
        for version in _folders(folder):
            yield folder.name, version.name, version / "model.onnx"


def _folders(parent: Path) -> list[Path]:
    return sorted(path for path in parent.iterdir() if path.is_dir() and not path.name.startswith((".", "_")))


def _inside(path: Path, root: Path) -> Path:
    """`path`, if its names are proper and no link leads out of `root`."""
    name, version = path.parts[-3:-1]
    if not _NAME.fullmatch(name):
        raise ValueError(
            f"got the name {name!r}, expected lower-case letters, digits, dots, dashes and underscores"
        )
    if not _VERSION.fullmatch(version):
        raise ValueError(f"got the version {version!r}, expected a whole number such as 1")
    if not path.resolve().is_relative_to(root.resolve()):
        raise ValueError("a link leads out of the models folder; put the file itself there")
    if not path.is_file():
        raise ValueError("got no model.onnx in the folder of this version, expected one")
    return path


def _require_agreement(artifact: Artifact, engine: Engine) -> None:
    """What the file says about itself must be what its graph does."""
    metadata = artifact.metadata
    said = (metadata.input_shape, len(metadata.labels))
    is_so = (tuple(engine.input_shape), engine.classes)
    if said != is_so:
        raise ValueError(f"the metadata gives input (C, H, W) and classes {said}, the graph has {is_so}")
    parse_epsilon(metadata.epsilon)
