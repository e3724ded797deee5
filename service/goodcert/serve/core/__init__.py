"""Nouns that every part of the service may import: errors, verdicts, times, ids, logs."""
