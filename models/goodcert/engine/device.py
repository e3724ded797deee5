"""Chooses the device that computes bounds (CPU or CUDA), and switches reduced float32 precision off there."""

import torch

from goodcert.engine.errors import EngineError


def resolve(name: str) -> torch.device:
    """`auto` (CUDA where there is one), `cpu` or `cuda`. Raises EngineError for a device that is not there."""
    if name not in ("auto", "cpu", "cuda"):
        raise EngineError(f"device: got {name!r}, expected auto, cpu or cuda")
    available = torch.cuda.is_available()
    if name == "cuda" and not available:
        raise EngineError("device: cuda was asked for and PyTorch sees none; use auto or cpu")
    if name == "cpu" or not available:
        return torch.device("cpu")
    keep_float32_honest()
    return torch.device("cuda")


def keep_float32_honest() -> None:
    """No TF32 in convolutions (where cuDNN allows it by default) or matrix products, and no half-precision
    sums: the rounding theorem is about float32."""
    torch.backends.cudnn.conv.fp32_precision = "ieee"  # type: ignore[attr-defined]  # set at import
    torch.backends.cuda.matmul.fp32_precision = "ieee"


def memory() -> tuple[int, int]:
    """(used, total) bytes of the current CUDA device, whoever uses them. Raises RuntimeError without one."""
    free, total = torch.cuda.mem_get_info()
    return total - free, total
