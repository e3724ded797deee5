"""Admission control: API keys, rate and concurrency limits of each key, and the memory of request bodies."""
