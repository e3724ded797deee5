"""Images are shared among threads, never one image: what a thread computes alone has the same bits every time, and
threads that share a sum wait for each other, without letting go of their cores."""

import os


def cores() -> int:
    """How many this process may use: maybe few of the machine's (affinity, cpusets); all where the system does not
    tell."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def at_once(device: str, threads: int | None) -> int:
    """How many images are done side by side: one a thread on the CPU, by default one a core, and one on a GPU."""
    return (threads or cores()) if device == "cpu" else 1
