"""Outliers made harder."""

import torch
from torch import Tensor

from goodcert.data.outliers import cut_out, halves, near, quarter_turned, random_fields, strokes, written


def seeded() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def test_a_share_of_the_images_loses_a_part_to_black() -> None:
    images = torch.full((400, 1, 28, 28), 200, dtype=torch.uint8)
    cut = cut_out(images, 0.5, seeded())
    black = (cut == 0).flatten(1).float().mean(dim=1)
    assert 0.35 < (black > 0).float().mean() < 0.55
    assert set(cut.unique().tolist()) == {0, 200}


def test_nothing_is_cut_for_a_share_of_0() -> None:
    images = torch.full((3, 1, 8, 8), 7, dtype=torch.uint8)
    assert torch.equal(cut_out(images, 0, seeded()), images)


def test_halves_take_one_part_of_each_of_two_images() -> None:
    one, two = torch.full((50, 1, 9, 9), 1), torch.full((50, 1, 9, 9), 2)
    for image in halves(one, two, seeded())[:, 0]:
        counts = (image == 1).sum(dim=0), (image == 1).sum(dim=1)
        assert image[0, 0] == 1
        assert image[8, 8] == 2
        assert any(len(set(count.tolist())) == 1 and 3 <= count[0] < 6 for count in counts)


def test_a_quarter_turn_turns_by_90_degrees() -> None:
    image = torch.tensor([[1, 2], [3, 4]])[None, None]
    turned = {tuple(quarter_turned(image, torch.Generator().manual_seed(i)).flatten().tolist()) for i in range(50)}
    left, right = (2, 4, 1, 3), (3, 1, 4, 2)
    assert turned == {left, right, (4, 2, 3, 1), (1, 3, 2, 4)}


def test_strokes_are_lines_on_black() -> None:
    drawn = strokes(torch.zeros(100, 1, 28, 28, dtype=torch.uint8), seeded())
    ink = (drawn > 127).float().mean(dim=(1, 2, 3))
    assert drawn.dtype == torch.uint8
    assert ((ink > 0) & (ink < 0.6)).float().mean() > 0.95


def test_written_signs_are_white_lines_as_large_as_digits_in_the_middle() -> None:
    signs = written(torch.zeros(100, 1, 28, 28, dtype=torch.uint8), seeded())[:, 0]
    for sign in signs:
        rows, columns = (torch.nonzero((sign > 127).any(dim=axis)).flatten() for axis in (1, 0))
        sides = [int(at[-1] - at[0]) + 1 for at in (rows, columns)]
        assert 13 <= max(sides) <= 24
        assert all(abs(int(at[-1] + at[0]) - 27) <= 2 for at in (rows, columns))
    assert signs.dtype == torch.uint8
    assert 0.02 < (signs > 127).float().mean() < 0.2


def test_written_signs_have_the_channels_asked_for() -> None:
    signs = written(torch.zeros(5, 3, 32, 32, dtype=torch.uint8), seeded())
    assert signs.shape == (5, 3, 32, 32)
    assert torch.equal(signs[:, 0], signs[:, 2])


def test_near_outliers_are_made_of_strokes_signs_halves_and_turned_glyphs() -> None:
    zero, one = torch.zeros(1, 1, 28, 28, dtype=torch.uint8), torch.zeros(1, 1, 28, 28, dtype=torch.uint8)
    zero[..., 3, 5], one[..., 3, 24] = 77, 99
    images, labels = torch.cat([zero, one]).repeat(100, 1, 1, 1), torch.tensor([0, 1]).repeat(100)
    made = near(images, labels, torch.tensor([False, True]), seeded())
    assert sum(turned_of(image, one[0]) for image in made) > 20
    assert not any(turned_of(image, zero[0]) for image in made[labels == 0])
    assert any(torch.equal(image, zero[0]) for image in made)  # the upper half of a zero over that of a one
    assert ((made > 127).sum(dim=(1, 2, 3)) > 20).sum() > 40


def turned_of(image: Tensor, glyph: Tensor) -> bool:
    turns = [glyph.rot90(turn, (1, 2)) for turn in (1, 3)]
    return any(torch.equal(image, turn) or torch.equal(image, turn.flip(2)) for turn in turns)


def test_the_same_seed_gives_the_same_outliers() -> None:
    assert torch.equal(random_fields(5, 28, seeded()), random_fields(5, 28, seeded()))
