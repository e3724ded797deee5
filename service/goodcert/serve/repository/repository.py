"""The repository of served models, and its changes at run time: load, unload, replace (hot swap).

A new version, or a new file in place of an old one, is served once it is ready; until then, and if it is refused,
the old one answers. A model that is replaced or unloaded gets no new requests. Requests that hold it finish on it;
when the last lets go, its queues are closed and its memory is freed (reference counting).
"""

import asyncio
import ctypes
import logging
import weakref
from collections.abc import AsyncIterator, Collection, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from goodcert.serve.core.errors import UnknownModel
from goodcert.serve.repository.files import Place, Stamp, find
from goodcert.serve.repository.loader import Loader
from goodcert.serve.repository.model import ImageBatcher, MakeBatcher, RefusedVersion, ServedModel
from goodcert.serve.settings.settings import SettingsError

__all__ = ["ImageBatcher", "MakeBatcher", "ModelRefused", "RefusedVersion", "Repository", "ServedModel"]

log = logging.getLogger("goodcert.serve")

DRAIN_SECONDS = 60.0
"""How long an unloading waits for the requests that still hold the model; they finish in any case."""

Key = tuple[str, str]


class ModelRefused(ValueError):
    """The newest version in the folder is not served; the message is the reason, written for people."""


class Repository:
    """The models, by name and version, newest version first. Everything but loading happens on the event loop."""

    def __init__(self, root: Path, loader: Loader, only: Collection[str] = ()) -> None:
        self._root = root
        self._loader = loader
        self._only = frozenset(only)
        self._models: dict[str, dict[str, ServedModel]] = {}
        self._refused: dict[Key, RefusedVersion] = {}
        self._stamps: dict[Key, Stamp] = {}
        self._unloaded: set[str] = set()
        self._changing = asyncio.Lock()
        self._retired: list[weakref.finalize[..., ServedModel]] = []
        self._endings: set[asyncio.Task[None]] = set()

    @classmethod
    def open(
        cls, root: Path, loader: Loader, only: Collection[str] = (), unloaded: Collection[str] = ()
    ) -> "Repository":
        """With every model under `root` loaded, or those with the names `only` if there are some, but for the
        `unloaded`, as if that had been asked for here. Raises SettingsError when there is no such folder, or no
        such model in it."""
        if not root.is_dir():
            raise SettingsError(f"models: got {root}, expected a folder of <name>/<version>/model.onnx")
        repository = cls(root, loader, only)
        places = repository._places()
        missing = frozenset(only) - {place.name for place in places}
        if missing:
            there = sorted({place.name for place in find(root)})
            raise SettingsError(
                f"model_names: got {sorted(missing)}, expected some of {there}, which are in {root}"
            )
        repository._put_away({place.key for place in places if place.name in unloaded})
        places = [place for place in places if place.name not in unloaded]
        for place, result in zip(places, loader.load(places), strict=True):
            repository._take(place, result)
        return repository

    @property
    def names(self) -> frozenset[str]:
        return frozenset(self._models)

    @property
    def refused(self) -> tuple[RefusedVersion, ...]:
        """What lies in the folder and is not served so, with the reasons."""
        return tuple(self._refused[key] for key in sorted(self._refused))

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
        return [model for name in sorted(self._models) for model in self._models[name].values()]

    def ready(self) -> bool:
        """Whether there is a model, and none that broke its guarantee."""
        models = self.all()
        return bool(models) and all(model.sound for model in models)

    async def load(self, name: str) -> None:
        """Serve `name` as it lies in the folder now: versions that are new, changed, refused before or out of
        service are loaded, those that are gone are unloaded.

        Raises UnknownModel where there is no such folder, and ModelRefused if its newest version is refused; what
        was served before then still is.
        """
        async with self._changing:
            places = [place for place in await asyncio.to_thread(self._places) if place.name == name]
            if not places:
                raise UnknownModel(name)
            self._unloaded.discard(name)
            await self._update([place for place in places if self._is_new(place) or not self._serves(place)])
            self._drop({key for key in self._stamps if key[0] == name} - {place.key for place in places})
            newest = max(places, key=lambda place: place.number)
        if newest.key in self._refused:
            raise ModelRefused(self._refused[newest.key].reason)

    async def unload(self, name: str) -> None:
        """Serve no version of `name` until it is loaded again, and come back when its last request is answered.
        Raises UnknownModel."""
        async with self._changing:
            known = {key for key in self._stamps if key[0] == name}
            if not known:
                raise UnknownModel(name)
            endings = self._drop(known)
            self._put_away(known)
        if endings:
            _, waiting = await asyncio.wait(endings, timeout=DRAIN_SECONDS)
            if waiting:
                log.warning("model %s is unloaded, but requests still hold it", name)

    async def refresh(self) -> None:
        """Take up what changed in the folder since the last time. Without the folder everything stays as it is."""
        async with self._changing:
            if not await asyncio.to_thread(self._root.is_dir):
                log.error("the models folder is gone; what was loaded from it is still served")
                return
            places = [p for p in await asyncio.to_thread(self._places) if p.name not in self._unloaded]
            await self._update([place for place in places if self._is_new(place)])
            found = {place.key for place in places}
            self._drop({key for key in self._stamps if key[0] not in self._unloaded} - found)

    @asynccontextmanager
    async def polled(self, seconds: float | None) -> AsyncIterator[None]:
        """While in here, look at the folder every so many seconds; None: never."""
        task = asyncio.create_task(self._poll(seconds)) if seconds else None
        try:
            yield
        finally:
            if task is not None:
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task

    async def close(self) -> None:
        """Let every model finish what it has, those that were replaced included."""
        retired = [alive[0] for finalizer in self._retired if (alive := finalizer.detach())]
        for model in (*self.all(), *retired):
            await _close(model.batchers)
        await asyncio.gather(*self._endings)

    async def _poll(self, seconds: float) -> None:
        while True:
            await asyncio.sleep(seconds)
            try:
                await self.refresh()
            except Exception:  # a folder that cannot be read now may be readable the next time
                log.exception("the models folder could not be looked at")

    def _places(self) -> list[Place]:
        return [place for place in find(self._root) if not self._only or place.name in self._only]

    def _is_new(self, place: Place) -> bool:
        return self._stamps.get(place.key) != place.stamp

    def _serves(self, place: Place) -> bool:
        model = self._models.get(place.name, {}).get(place.version)
        return model is not None and model.sound and place.key not in self._refused

    async def _update(self, places: Sequence[Place]) -> None:
        if places:
            results = await asyncio.to_thread(self._loader.load, places)
            for place in places:
                self._take(place, results.pop(0))

    def _take(self, place: Place, result: ServedModel | RefusedVersion) -> None:
        """Serve it in the place of an older one, or note why not: what is served then stays."""
        self._stamps[place.key] = place.stamp
        if isinstance(result, RefusedVersion):
            self._refused[place.key] = result
            return
        self._refused.pop(place.key, None)
        versions = dict(self._models.get(place.name, {}))
        if place.version in versions:
            self._retire(versions.pop(place.version))
        versions[place.version] = result
        self._models[place.name] = dict(sorted(versions.items(), key=lambda item: -int(item[0])))

    def _drop(self, keys: Iterable[Key]) -> list[asyncio.Future[None]]:
        """Serve these no longer, and forget them; a future each for when it is over."""
        endings = []
        for name, version in keys:
            self._stamps.pop((name, version), None)
            self._refused.pop((name, version), None)
            if version in self._models.get(name, {}):
                endings.append(self._retire(self._models[name].pop(version)))
                log.info("model %s version %s is unloaded", name, version)
            if not self._models.get(name, True):
                del self._models[name]
        return endings

    def _put_away(self, keys: Iterable[Key]) -> None:
        """Note that these are not served because somebody asked for that."""
        for key in keys:
            self._unloaded.add(key[0])
            self._refused[key] = RefusedVersion(*key, "unloaded on request; load it to serve it again", "unloaded")
            self._stamps[key] = ()

    def _retire(self, model: ServedModel) -> asyncio.Future[None]:
        """Close the model's queues when nobody holds it any more."""
        loop = asyncio.get_running_loop()
        ended: asyncio.Future[None] = loop.create_future()
        finalizer = weakref.finalize(model, loop.call_soon_threadsafe, self._begin_end, model.batchers, ended)
        finalizer.atexit = False
        self._retired = [*(other for other in self._retired if other.alive), finalizer]
        return ended

    def _begin_end(self, batchers: list[ImageBatcher], ended: asyncio.Future[None]) -> None:
        task = asyncio.create_task(_end(batchers, ended))
        self._endings.add(task)
        task.add_done_callback(self._endings.discard)


async def _end(batchers: list[ImageBatcher], ended: asyncio.Future[None]) -> None:
    await _close(batchers)
    batchers.clear()
    await asyncio.to_thread(_give_back)
    if not ended.done():
        ended.set_result(None)


async def _close(batchers: Iterable[ImageBatcher]) -> None:
    for batcher in batchers:
        await batcher.close()


def _give_back() -> None:
    """The memory of what nobody holds, to the operating system: glibc by itself keeps most of it."""
    with suppress(OSError, AttributeError):  # another C library needs no reminding
        ctypes.CDLL(None).malloc_trim(0)
