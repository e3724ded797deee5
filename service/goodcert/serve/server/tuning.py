"""Process-wide tuning for a dedicated server process: garbage collector, GIL switch interval, glibc allocator."""

import ctypes
import gc
import sys
from contextlib import suppress

SWITCH_SECONDS = 10e-6
"""The interpreter's switch interval: how long a thread that waits for the GIL lets another run."""
LARGE_BYTES = 8 * 2**20
"""Allocations from this size on are given back to the operating system when they are freed."""
_M_MMAP_THRESHOLD, _M_ARENA_MAX = -3, -8  # as malloc.h of glibc has them


def settle() -> None:
    """To be called before the models are loaded, and before there are threads."""
    gc.freeze()  # what was imported stays, and no collection walks through it
    # glibc gives every thread a heap of its own, of up to 64 MiB, and hardly ever takes it back: ten thousand
    # uploads, a few of them large, left 200 MiB in those of the decoders (tests/promises/test_endurance.py).
    _set(_M_ARENA_MAX, 1)


def tune() -> None:
    """To be called once the models are loaded."""
    # What is loaded stays. Walking through its objects, 224,000 with one model, a full collection stopped every
    # thread for 0.9 s on a busy machine, and found nothing.
    gc.collect()
    gc.freeze()
    # The engine's thread waits for the interpreter lock after every batch. Decoders let go of it for moments that
    # are too short to wake up in, and each of them starts the wait anew: at the default of 5 ms it may never end.
    sys.setswitchinterval(SWITCH_SECONDS)
    _return_what_is_large()


def _return_what_is_large() -> None:
    """Bodies and decoded images go back to the operating system when they are done with. By itself glibc raises
    the size that does with every one that it meets, and keeps more than 100 MiB after some thousand uploads."""
    _set(_M_MMAP_THRESHOLD, LARGE_BYTES)


def _set(option: int, value: int) -> None:
    with suppress(OSError, AttributeError):  # another C library has other habits
        ctypes.CDLL(None).mallopt(option, value)
