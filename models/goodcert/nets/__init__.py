"""Network architectures as data, and the one factory that builds them."""

from goodcert.nets.convolutional import ARCHITECTURES, build

__all__ = ["ARCHITECTURES", "build"]
