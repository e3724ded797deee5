"""Small models that two tools read differently, and what becomes of each.

Every entry shows one disagreement. docs/refusals.md is made from this table.
"""

from disagreements.arithmetic import ARITHMETIC
from disagreements.files import FILES
from disagreements.tools import Disagreement, Reading, Rejection, differ, read, refusal
from disagreements.windows import WINDOWS

KINDS = (*WINDOWS, *FILES, *ARITHMETIC)
DISAGREEMENTS = {entry.name: entry for kind in KINDS for entry in kind.entries}

__all__ = ["DISAGREEMENTS", "KINDS", "Disagreement", "Reading", "Rejection", "differ", "read", "refusal"]
