"""Many callers, one engine: batches, deadlines, and the door to other threads."""
