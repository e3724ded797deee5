"""A limit on the bytes of all request bodies that are in memory at the same time."""

from collections.abc import Iterator
from contextlib import contextmanager

from goodcert.serve.core.errors import BodiesFull


class BytesInFlight:
    """On the event loop, so nothing needs a lock."""

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._bytes = 0

    def require_room(self, size_bytes: int) -> None:
        """Look whether so many bytes more would fit, and take none. Raises BodiesFull."""
        if self._bytes + size_bytes > self._most_bytes:
            raise BodiesFull(1)

    def add(self, size_bytes: int) -> None:
        """Whoever adds takes away again. Raises BodiesFull."""
        self.require_room(size_bytes)
        self._bytes += size_bytes

    def take_away(self, size_bytes: int) -> None:
        self._bytes -= size_bytes

    @contextmanager
    def holding(self, size_bytes: int) -> Iterator[None]:
        """A context in which so many bytes are under way. Raises BodiesFull."""
        self.add(size_bytes)
        try:
            yield
        finally:
            self.take_away(size_bytes)
