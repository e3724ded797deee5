"""From the bytes of an upload to the pixels that a model takes, or a refusal."""
