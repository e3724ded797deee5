"""The convolution of GPUs, held against PyTorch's own: the same sums."""

from collections.abc import Sequence

import pytest
import torch
import torch.nn.functional as F

from goodcert.bounds import affine
from goodcert.bounds.affine import by_windows

CONVOLUTIONS = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}


def test_a_window_at_every_place_is_multiplied_by_hand() -> None:
    x = torch.tensor([[[1.0, 2, 3, 4, 5]]])
    weight, bias = torch.tensor([[[1.0, 10]], [[0, -1]]]), torch.tensor([0.5, 0])
    # windows (1, 3) and (3, 5): stride 2, dilation 2
    assert by_windows(x, weight, bias, [2], [2], 1).tolist() == [[[31.5, 53.5], [-3, -5]]]


@pytest.mark.parametrize("sizes", [(9,), (7, 8), (5, 6, 4)])
@pytest.mark.parametrize("strides", [1, 2])
@pytest.mark.parametrize("dilations", [1, 2])
@pytest.mark.parametrize("groups", [1, 2, 4])
def test_it_is_the_convolution(sizes: Sequence[int], strides: int, dilations: int, groups: int) -> None:
    generator = torch.Generator().manual_seed(0)
    dims, kernel = len(sizes), [3, 2, 1][: len(sizes)]
    x = torch.randn(3, 4, *sizes, generator=generator, dtype=torch.float64)
    weight = torch.randn(8, 4 // groups, *kernel, generator=generator, dtype=torch.float64)
    bias = torch.randn(8, generator=generator, dtype=torch.float64)
    expected = CONVOLUTIONS[dims](x, weight, bias, strides, 0, dilations, groups)
    got = by_windows(x, weight, bias, [strides] * dims, [dilations] * dims, groups)
    torch.testing.assert_close(got, expected, rtol=1e-12, atol=1e-12)


def test_images_of_any_layout_in_memory_are_taken() -> None:
    x = torch.randn(2, 3, 6, 6).to(memory_format=torch.channels_last)
    weight = torch.randn(4, 3, 3, 3)
    expected = by_windows(x.contiguous(), weight, None, [1, 1], [1, 1], 1)
    assert torch.equal(by_windows(x, weight, None, [1, 1], [1, 1], 1), expected)


def test_few_images_at_a_time_give_what_all_give(monkeypatch: pytest.MonkeyPatch) -> None:
    x, weight = torch.randn(5, 3, 6, 6), torch.randn(4, 3, 3, 3)
    expected = by_windows(x, weight, None, [1, 1], [1, 1], 1)
    monkeypatch.setattr(affine, "_WINDOWS", 2 * 27 * 16)
    torch.testing.assert_close(by_windows(x, weight, None, [1, 1], [1, 1], 1), expected)
