"""Windows of convolutions and pools: where a kernel meets an image.

Where the text of ONNX, its shape inference and runtimes place windows differently, the node is refused: a window
longer than the padded image (of which ONNX Runtime makes a row), SAME with steps so long that the total padding is
negative, pads beside auto_pad, a pool's window of pads alone.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from goodcert.bounds.graph import Node
from goodcert.bounds.interval import Interval
from goodcert.bounds.rule import Transform, pads_of, require


def checked(node: Node, kernel: Sequence[int], transform: Transform) -> Transform:
    """`transform`, of a convolution or a pool with this kernel, for images whose windows all agree about."""
    check_attributes(node, len(kernel))
    same = node.attributes.get("auto_pad", "").startswith("SAME")
    plain = set(dilations_of(node.attributes, len(kernel))) == {1}
    require(node, plain or not same, "no dilations with auto_pad SAME, of which runtimes disagree")

    def inside(x: Interval) -> Interval:
        require(node, x.lower.ndim == len(kernel) + 2, f"images (N, C, ...) of {len(kernel)} dimensions")
        _check_places(node, kernel, [int(n) for n in x.lower.shape[2:]])
        return transform(x)

    return inside


def check_attributes(node: Node, dims: int) -> None:
    """Raises Unsupported for strides, dilations or pads that no image could have."""
    require(node, 1 <= dims <= 3, "one to three dimensions")
    for name, count, least in (
        ("kernel_shape", dims, 1),
        ("strides", dims, 1),
        ("dilations", dims, 1),
        ("pads", 2 * dims, 0),
        ("output_padding", dims, 0),
        ("output_shape", dims, 1),
    ):
        values = node.attributes.get(name)
        fits = values is None or (len(values) == count and min(values) >= least)
        require(node, fits, f"{count} numbers of at least {least} as {name}")
    alone = node.attributes.get("auto_pad", "NOTSET") == "NOTSET" or not any(node.attributes.get("pads", ()))
    require(node, alone, "pads or auto_pad, not both")


def _check_places(node: Node, kernel: Sequence[int], sizes: Sequence[int]) -> None:
    begin, end = explicit_pads(node.attributes, kernel, sizes)
    positive = min(*begin, *end) >= 0
    require(node, positive, "strides no longer than the windows with auto_pad SAME; write pads instead")
    reach = [d * (k - 1) + 1 for k, d in zip(kernel, dilations_of(node.attributes, len(kernel)), strict=True)]
    fits = all(r <= n + b + e for r, n, b, e in zip(reach, sizes, begin, end, strict=True))
    require(node, fits, "windows no longer than the padded image")


def explicit_pads(
    attributes: Mapping[str, Any], kernel: Sequence[int], sizes: Sequence[int]
) -> tuple[list[int], list[int]]:
    """(begin, end) of every axis for an image of these sizes, with auto_pad spelled out: SAME gives
    ceil(size / stride) outputs, the odd one of the pads at the end (UPPER) or at the beginning (LOWER). Negative
    where the strides are longer than the windows."""
    dims, rule = len(kernel), attributes.get("auto_pad", "NOTSET")
    if rule in ("NOTSET", "VALID"):
        return pads_of(attributes, dims) if rule == "NOTSET" else ([0] * dims, [0] * dims)
    strides, dilations = strides_of(attributes, dims), dilations_of(attributes, dims)
    total = [
        (-(-int(n) // s) - 1) * s + d * (k - 1) + 1 - int(n)
        for n, s, d, k in zip(sizes, strides, dilations, kernel, strict=True)
    ]
    return halves(total, upper=rule == "SAME_UPPER")


def halves(total: Sequence[int], *, upper: bool) -> tuple[list[int], list[int]]:
    """(begin, end) of pads that are `total` together; the odd one at the end if `upper`."""
    small, large = [t // 2 for t in total], [t - t // 2 for t in total]
    return (small, large) if upper else (large, small)


def strides_of(attributes: Mapping[str, Any], dims: int) -> list[int]:
    return list(attributes.get("strides", [1] * dims))


def dilations_of(attributes: Mapping[str, Any], dims: int) -> list[int]:
    return list(attributes.get("dilations", [1] * dims))
