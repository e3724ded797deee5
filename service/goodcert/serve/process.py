"""What suits a process that does nothing but serve; a test, or somebody's own program, is not asked to bear it."""

import gc
import sys

SWITCH_SECONDS = 10e-6


def tune() -> None:
    """To be called once the models are loaded."""
    # What is loaded stays: a collection that walks through all of it, again and again, finds nothing.
    gc.collect()
    gc.freeze()
    # The engine's thread waits for the interpreter lock after every batch. Decoders let go of it for moments that
    # are too short to wake up in, and each of them starts the wait anew: at the default of 5 ms it may never end.
    sys.setswitchinterval(SWITCH_SECONDS)
