"""Engines without the checks that keep a misread file out: to show that the fuzzer finds what they are for."""

from collections.abc import Iterator
from contextlib import contextmanager
from unittest.mock import patch

from goodcert.bounds import interpreter, windows


@contextmanager
def unchecked() -> Iterator[None]:
    """Within it, windows beyond their image are admitted, as are shapes that shape inference does not give. With
    `validate=False` nothing then holds a file against ONNX Runtime but the self-check on random images."""
    with (
        patch.object(windows, "_check_places", lambda *_: None),
        patch.object(interpreter, "_check_shape", lambda *_: None),
    ):
        yield
