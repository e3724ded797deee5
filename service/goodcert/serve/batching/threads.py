"""The door to other threads, for work that would hold up the event loop."""

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor
from typing import TypeVar

from goodcert.serve.core.errors import DeadlineExceeded

T = TypeVar("T")

INLINE_BYTES = 64 * 2**10
"""Up to here most work takes less time than a thread hop and the wait for it are worth."""


async def run(work: Callable[[], T], deadline: float, pool: Executor | None = None) -> T:
    """What `work` returns in a thread of `pool`, by default of the event loop's own; `deadline` is a time of its
    clock, after which nobody waits for it.

    Raises DeadlineExceeded, and what `work` does.
    """
    try:
        async with asyncio.timeout_at(deadline):
            return await asyncio.get_running_loop().run_in_executor(pool, work)
    except TimeoutError as error:
        raise DeadlineExceeded from error


async def run_if_large(work: Callable[[], T], size_bytes: int, deadline: float) -> T:
    """What `work` on so many bytes returns: at once where they are few, else as `run` does."""
    return work() if size_bytes <= INLINE_BYTES else await run(work, deadline)
