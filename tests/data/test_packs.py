"""Packs from disk, and packs that are a part of another."""

from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest

from goodcert.data import packs
from goodcert.data.packs import PARTS, load


def test_a_part_has_the_images_and_labels_of_its_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packs, "PARTS", {"front": ("whole", slice(0, 3)), "back": ("whole", slice(3, 5))})
    images = np.arange(5, dtype=np.uint8)[:, None, None]
    np.savez(tmp_path / "whole.npz", images=images, labels=np.arange(10, 15))
    front, back = load(tmp_path, "front"), load(tmp_path, "back")
    assert (front.images.ravel().tolist(), back.images.ravel().tolist()) == ([0, 1, 2], [3, 4])
    assert front.labels is not None
    assert back.labels is not None
    assert (front.labels.tolist(), back.labels.tolist()) == ([10, 11, 12], [13, 14])


def test_a_part_of_a_pack_that_is_not_there_names_the_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"gtsrb_32_a\.npz"):
        load(tmp_path, "gtsrb_32_a_train")


def test_no_image_is_in_two_parts() -> None:
    taken: defaultdict[str, set[int]] = defaultdict(set)
    for whole, rows in PARTS.values():
        places = set(range(rows.start, rows.stop))
        assert not places & taken[whole]
        taken[whole] |= places
