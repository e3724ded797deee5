"""The files of the models: <root>/<name>/<version>/model.onnx, and a sidecar beside those that need one.

What a caller names is looked up among what was found, and never becomes a path. No link below the root is
followed.
"""

import errno
import os
import re
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from goodcert.artifact import sidecar

MODEL = "model.onnx"
_PARTS = (MODEL, sidecar.NAME)

NAME = re.compile(r"[a-z0-9][a-z0-9._-]*", re.ASCII)
_VERSION = re.compile(r"0|[1-9][0-9]{0,8}", re.ASCII)

Stamp = tuple[tuple[int, int, int] | None, ...]


@dataclass(frozen=True)
class Place:
    """Where a version of a model lies. stamp: what changes when its files do."""

    name: str
    version: str
    folder: Path
    stamp: Stamp

    @property
    def key(self) -> tuple[str, str]:
        return self.name, self.version

    @property
    def number(self) -> int:
        """The version; -1 where it is none."""
        return int(self.version) if _VERSION.fullmatch(self.version) else -1


class Files(NamedTuple):
    """The bytes of a model file, and of the sidecar if there is one."""

    model: bytes
    sidecar: bytes | None


def find(root: Path) -> list[Place]:
    """Every folder two levels down; hidden and private ones are not looked at."""
    return [
        Place(folder.name, version.name, version, _stamp(version))
        for folder in _folders(root)
        for version in _folders(folder)
    ]


def _folders(parent: Path) -> list[Path]:
    return sorted(path for path in parent.iterdir() if path.is_dir() and not path.name.startswith((".", "_")))


def _stamp(folder: Path) -> Stamp:
    return tuple(_stamp_of(folder / part) for part in _PARTS)


def _stamp_of(path: Path) -> tuple[int, int, int] | None:
    try:
        about = path.lstat()
    except OSError:
        return None
    return about.st_ino, about.st_size, about.st_mtime_ns


def read(place: Place, most_bytes: int) -> Files:
    """The files, read once. Raises ValueError, with a reason for people, for names that are not proper, links,
    what is no file, and what is larger than `most_bytes`."""
    _require_proper(place)
    model, beside = (_bytes(place.folder / part, most_bytes) for part in _PARTS)
    if model is None:
        raise ValueError(f"got no {MODEL} in the folder of this version, expected one")
    return Files(model, beside)


def _require_proper(place: Place) -> None:
    if not NAME.fullmatch(place.name):
        raise ValueError(
            f"got the name {place.name!r}, expected lower-case letters, digits, dots, dashes and underscores"
        )
    if place.number < 0:
        raise ValueError(f"got the version {place.version!r}, expected a whole number such as 1")
    if place.folder.is_symlink() or place.folder.parent.is_symlink():
        raise ValueError("its folder is a link; put the folder itself there")


def _bytes(path: Path, most_bytes: int) -> bytes | None:
    """None where there is no such file."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise ValueError(f"{path.name} is a link; put the file itself there") from error
        raise ValueError(f"{path.name} cannot be opened: {error.strerror}") from error
    with os.fdopen(descriptor, "rb") as file:
        about = os.fstat(descriptor)
        if not stat.S_ISREG(about.st_mode):
            raise ValueError(f"{path.name} is no regular file")
        if about.st_size > most_bytes:
            raise ValueError(f"{path.name}: got {about.st_size} bytes, expected at most {most_bytes}")
        return file.read()
