"""Model files from strangers are read first in a process that may die of it."""
