"""Images are shared among threads, never one image: what a thread computes alone has the same bits every time, and
threads that share a sum wait for each other, without letting go of their cores."""

import os


def at_once(device: str, threads: int | None) -> int:
    """How many images are done side by side: one a thread on the CPU, by default one a core, and one on a GPU."""
    return (threads or os.cpu_count() or 1) if device == "cpu" else 1
