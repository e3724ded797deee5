"""Network architectures as plain factories."""

from goodcert.nets.convolutional import NETS, small

__all__ = ["NETS", "small"]
