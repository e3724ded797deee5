import numpy as np
import torch

from goodcert.bounds.interval import Interval
from goodcert.engine.checks.witnesses import KINDS, LARGE, witnesses

BOX = Interval(torch.tensor([[-1.0, 0.0, 2.0, -torch.inf]]), torch.tensor([[1.0, 0.0, 3.0, torch.nan]]))


def test_one_round_has_a_row_of_every_kind_and_more_rounds_as_many() -> None:
    box = Interval(torch.zeros(1, 50), torch.ones(1, 50))
    (together,) = witnesses((KINDS, 50), 1, box, seed=0)
    alone = witnesses((1, 50), KINDS, box, seed=0)
    assert np.array_equal(together, np.concatenate(alone))
    assert len(np.unique(together, axis=0)) == KINDS


def test_what_keeps_to_the_range_comes_first() -> None:
    for row in witnesses((2, 4), 1, BOX, seed=3)[0]:
        assert (np.array([-1, 0, 2, -LARGE]) <= row).all()
        assert (row <= np.array([1, 0, 3, LARGE])).all()


def test_some_row_has_another_number_for_every_element_and_some_of_either_sign() -> None:
    (rows,) = witnesses((KINDS, 50), 1, Interval(torch.zeros(1, 50), torch.ones(1, 50)), seed=0)
    assert any(len(np.unique(row)) == 50 for row in rows)
    assert any((row < 0).any() and (row > 0).any() for row in rows)


def test_subnormal_and_large_numbers_and_a_constant_occur() -> None:
    (rows,) = witnesses((KINDS, 50), 1, Interval(torch.zeros(1, 50), torch.ones(1, 50)), seed=0)
    sizes = np.abs(rows)
    assert ((sizes > 0) & (sizes < 2.0**-126)).any()
    assert sizes.max() > LARGE / 2
    assert any(len(np.unique(row)) == 1 and row[0] == np.float32(0.5) for row in rows)
