"""From the bytes of one upload to its certificate. Knows nothing of HTTP."""
