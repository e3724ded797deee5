"""Windows of convolutions and pools, and coordinates of Resize."""

from collections.abc import Callable, Mapping, Sequence
from itertools import product
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from disagreements.tools import (
    F32,
    INFERENCE,
    PYTORCH,
    REFERENCE,
    RUNTIME,
    Disagreement,
    Kind,
    chain,
    counted,
)


def _window(
    name: str, does: str, tools: tuple[str, ...], refused: str, op: str, sizes: Sequence[int], opset: int = 17,
    weight: Any = None, own: Mapping[str, Callable[[F32], F32]] | None = None, **attributes: Any,
) -> Disagreement:  # fmt: skip
    """A convolution or a pool of images of one channel, or two of them side by side."""
    constants = {} if weight is None else {"w": np.asarray(weight, np.float32)}
    model = chain([(op, ["x", *constants], "h", attributes)], constants, (1, *sizes), opset)
    return Disagreement(
        name, does, tools, model, counted(1, 1, *sizes), rf"'node0' \({op}\).*{refused}", own or {}
    )


LONG, SAME, PADS = "windows no longer than the padded image", "auto_pad SAME; write pads", "pads shorter"


def _long_windows() -> tuple[Disagreement, ...]:
    shapes: dict[str, tuple[list[int], list[int], list[int]]] = {
        "one axis": ([3], [4], [2]),
        "one axis of two": ([3, 3], [2, 4], [1, 2]),
        "both axes": ([3, 3], [4, 4], [2, 2]),
    }
    pools = (
        _window(
            f"{op}, window longer than {axes}",
            "The window is a pixel longer than the image and the stride is 2.",
            (RUNTIME, REFERENCE, PYTORCH),
            LONG,
            op,
            sizes,
            kernel_shape=kernel,
            strides=strides,
            own={PYTORCH: _pytorch_pool(op, kernel, strides)},
        )
        for op in ("MaxPool", "AveragePool")
        for axes, (sizes, kernel, strides) in shapes.items()
    )
    return (
        *pools,
        _window(
            "MaxPool, dilated window longer than the image", "With its gaps the window is a pixel longer than the "
            "image and the stride is 2.", (RUNTIME, REFERENCE), LONG, "MaxPool", [4], kernel_shape=[3],
            strides=[2], dilations=[2],
        ),
        _window(
            "Conv, kernel longer than the image", "The kernel is a pixel longer than the image, the stride is 2.",
            (INFERENCE, RUNTIME, REFERENCE), LONG, "Conv", [3, 3], weight=np.ones((1, 1, 1, 4)), strides=[1, 2],
        ),
    )  # fmt: skip


def _pytorch_pool(op: str, kernel: Sequence[int], strides: Sequence[int]) -> Callable[[F32], F32]:
    pools: dict[tuple[str, int], Callable[..., torch.Tensor]] = {
        ("MaxPool", 1): F.max_pool1d, ("MaxPool", 2): F.max_pool2d,
        ("AveragePool", 1): F.avg_pool1d, ("AveragePool", 2): F.avg_pool2d,
    }  # fmt: skip
    pool = pools[op, len(kernel)]
    return lambda x: pool(torch.from_numpy(x), list(kernel), list(strides)).flatten(1).numpy()


def _long_steps() -> tuple[Disagreement, ...]:
    """SAME where steps are longer than windows."""
    axes = {"one axis": [3], "two axes": [3, 3]}
    pools = [
        _window(
            f"{op}-{opset}, {rule}, steps longer than the window, {name}", f"auto_pad is {rule}, the window a "
            "pixel and the stride 3: the pads together are negative.",
            (RUNTIME, REFERENCE), SAME, op, sizes, opset, kernel_shape=[1] * len(sizes),
            strides=[3] * len(sizes), auto_pad=rule,
        )
        for (op, opset), rule, (name, sizes) in product(
            (("AveragePool", 22), ("MaxPool", 17)), ("SAME_UPPER", "SAME_LOWER"), axes.items()
        )
    ]  # fmt: skip
    convolutions = [
        _window(
            f"Conv, SAME_UPPER, steps longer than the kernel, {name}", "auto_pad is SAME_UPPER, the kernel a "
            "pixel and the stride 4: the pads together are negative.", (RUNTIME, REFERENCE), SAME, "Conv",
            [4] * dims, weight=np.ones((1, 1, *[1] * dims)), strides=[4] * dims, auto_pad="SAME_UPPER",
        )
        for name, dims in (("one axis", 1), ("two axes", 2))
    ]  # fmt: skip
    transposed = [
        _window(
            f"ConvTranspose, {rule}, steps longer than the kernel, {name}", f"auto_pad is {rule}, the kernel two "
            "pixels and the stride 4: the output is longer than what kernels reach.", (RUNTIME, REFERENCE), SAME,
            "ConvTranspose", [3] * dims, weight=np.ones((1, 1, *[2] * dims)), strides=[4] * dims, auto_pad=rule,
        )
        for rule, (name, dims) in product(("SAME_UPPER", "SAME_LOWER"), (("one axis", 1), ("two axes", 2)))
    ]  # fmt: skip
    return (*pools, *convolutions, *transposed)


def _pads() -> tuple[Disagreement, ...]:
    kernel = {"kernel_shape": [2]}
    return (
        _window("AveragePool, a window of pads alone", "The pads are as long as the window.",
                (RUNTIME, REFERENCE), PADS, "AveragePool", [3], **kernel, pads=[2, 0]),
        _window("MaxPool, a window of pads alone", "The pads are as long as the window.",
                (RUNTIME, INFERENCE), PADS, "MaxPool", [3, 3], kernel_shape=[2, 2], pads=[2, 0, 0, 0]),
        _window("MaxPool, a window whose gap has the only pixel", "The window reads the pads on both sides of the "
                "image and no pixel.", (RUNTIME, REFERENCE, PYTORCH), "windows that meet a pixel", "MaxPool", [1],
                **kernel, dilations=[2], pads=[1, 1],
                own={PYTORCH: lambda x: F.max_pool1d(torch.from_numpy(x), 2, 1, 1, 2).flatten(1).numpy()}),
        *(_window(f"{op}, VALID with ceil_mode", "auto_pad is VALID, ceil_mode adds a window beyond the image.",
                  (RUNTIME, REFERENCE), "auto_pad VALID", op, [4], **kernel, strides=[3], auto_pad="VALID",
                  ceil_mode=1) for op in ("MaxPool", "AveragePool")),
        *(_window(f"{op}, a last window beyond the image", "Before opset 22, ceil_mode adds a window that begins "
                  "beyond the image.", (RUNTIME, INFERENCE), "of shape inference", op, [4], kernel_shape=[1],
                  strides=[2], ceil_mode=1) for op in ("MaxPool", "AveragePool")),
        *(_window(f"{op}, pads beside auto_pad", "There are pads, and auto_pad is SAME_UPPER.",
                  (RUNTIME, INFERENCE), "pads or auto_pad", op, [4], **kernel, pads=[1, 1], auto_pad="SAME_UPPER")
          for op in ("MaxPool", "AveragePool")),
        _window("Conv, pads beside auto_pad", "There are pads, and auto_pad is SAME_UPPER.", (RUNTIME, REFERENCE),
                "pads or auto_pad", "Conv", [4], weight=[[[1, 2]]], pads=[1, 1], auto_pad="SAME_UPPER"),
        _window("AveragePool, SAME with dilations", "auto_pad is SAME_LOWER, and the window has gaps.",
                (RUNTIME, REFERENCE, INFERENCE), "no dilations", "AveragePool", [4], 19, **kernel, dilations=[2],
                auto_pad="SAME_LOWER"),
        _window("MaxPool, SAME with dilations", "auto_pad is SAME_LOWER, and the window has gaps.",
                (RUNTIME, REFERENCE, INFERENCE), "no dilations", "MaxPool", [5], 19, **kernel, strides=[2],
                dilations=[2], auto_pad="SAME_LOWER"),
        _window("Conv, SAME with dilations", "auto_pad is SAME_LOWER, and the kernel has gaps.",
                (RUNTIME, REFERENCE), "no dilations", "Conv", [4], weight=[[[1, 2]]], dilations=[2],
                auto_pad="SAME_LOWER"),
        _window("ConvTranspose, output_padding of a stride", "output_padding is as long as the stride.",
                (RUNTIME, INFERENCE), "by less than a stride", "ConvTranspose", [3], weight=[[[1, 2]]],
                output_padding=[1]),
        _window("ConvTranspose, output_shape out of reach", "output_shape is longer than what the kernel reaches.",
                (RUNTIME, INFERENCE), "by less than a stride", "ConvTranspose", [3], weight=[[[1, 2]]],
                output_shape=[9]),
    )  # fmt: skip


def _resized(
    name: str, does: str, reason: str, size: int, scale: float, opset: int = 13, **attributes: Any
) -> Disagreement:
    scales = np.array([1, 1, 1, scale], np.float32)
    model = chain([("Resize", ["x", "", "s"], "h", attributes)], {"s": scales}, (1, 1, size), opset)
    return Disagreement(name, does, (RUNTIME, REFERENCE), model, counted(1, 1, 1, size), rf"\(Resize\).*{reason}")


def _resizing() -> tuple[Disagreement, ...]:
    return (
        _resized("Resize, a scale that changes no length", "4 pixels times 1.2 are 4 pixels: a copy, or a picture "
                 "with coordinates of its own.", "a scale that changes the length", 4, 1.2, mode="linear"),
        _resized("Resize, corners of a broken length", "4 pixels times 1.4 are 5.6, and coordinates go by the "
                 "length that is aimed at or that is reached.", "a whole number of pixels", 4, 1.4,
                 mode="linear", coordinate_transformation_mode="align_corners"),
    )  # fmt: skip


WINDOWS = (
    Kind("Windows longer than the image", "Use a global pool, a shorter window, or pads.", _long_windows()),
    Kind("SAME with long steps", "Write the pads, and crop the image before where that is meant.", _long_steps()),
    Kind("Pads, dilations and ceil_mode", "Write pads shorter than the window, without auto_pad.", _pads()),
    Kind("Resize", "Use scales that give whole numbers of pixels, or 1.", _resizing()),
)
