"""The packs of a benchmark in miniature, and what models that are measured on them say of themselves."""

from goodcert.artifact import Metadata

PACKS = {
    "mnist_test": (30, 28, 28), "fashion_sample_a": (9, 28, 28), "letters_a": (12, 28, 28),
    "notmnist_a": (8, 28, 28), "cifar10_test": (10, 32, 32, 3), "tinyimagenet_val_32_a": (6, 32, 32, 3),
    "gtsrb_32_a": (7, 32, 32, 3),
}  # fmt: skip


def metadata(method: str = "Plain", in_pack: str = "mnist_train", size: int = 8) -> Metadata:
    return Metadata(
        labels=("a", "b", "c"), height=size, width=size, color="grey" if in_pack == "mnist_train" else "rgb",
        epsilon="0.05", threshold=0.6, method=method, recipe={"in_pack": in_pack, "net": "S"},
    )  # fmt: skip
