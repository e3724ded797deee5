"""The paper's sets, from tiny files in their makers' formats."""

import gzip
import io
import struct
import sys
from pathlib import Path

import lmdb
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from scipy.io import savemat

from goodcert.data import originals

LETTERS = "emnist-letters-test-images-idx3-ubyte.gz"


@pytest.fixture
def colours() -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (5, 32, 32, 3), dtype=np.uint8)


@pytest.mark.parametrize("name", ["emnist_letters", "svhn", "cifar100", "lsun_classroom", "tiny_images"])
def test_a_set_that_is_not_there_is_none(name: str, tmp_path: Path) -> None:
    assert getattr(originals, name)(tmp_path) is None


def test_emnist_letters_stand_upright(tmp_path: Path) -> None:
    image = np.zeros((28, 28), np.uint8)
    image[3, 20] = 255  # near the top, to the right
    data = struct.pack(">4I", 0x803, 1, 28, 28) + image.T.tobytes()
    (tmp_path / LETTERS).write_bytes(gzip.compress(data))
    np.testing.assert_array_equal(originals.emnist_letters(tmp_path), image[None])


@pytest.mark.parametrize("data", [b"\0" * 16, struct.pack(">4I", 0x803, 2, 28, 28) + b"\0" * 784])
def test_an_idx_file_that_is_cut_or_of_another_kind_is_refused(data: bytes, tmp_path: Path) -> None:
    (tmp_path / LETTERS).write_bytes(gzip.compress(data))
    with pytest.raises(ValueError, match="expected an IDX file of unsigned bytes"):
        originals.emnist_letters(tmp_path)


def test_svhn_comes_images_first(tmp_path: Path, colours: NDArray[np.uint8]) -> None:
    savemat(tmp_path / "test_32x32.mat", {"X": colours.transpose(1, 2, 3, 0), "y": np.ones((5, 1), np.uint8)})
    np.testing.assert_array_equal(originals.svhn(tmp_path), colours)


def test_cifar100_records_are_two_labels_and_three_planes(tmp_path: Path, colours: NDArray[np.uint8]) -> None:
    planes = colours.transpose(0, 3, 1, 2).reshape(5, -1)
    (tmp_path / "cifar-100-binary").mkdir()
    file = tmp_path / "cifar-100-binary/test.bin"
    file.write_bytes(np.hstack([np.full((5, 2), 9, np.uint8), planes]).tobytes())
    np.testing.assert_array_equal(originals.cifar100(tmp_path), colours)
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(ValueError, match="multiple of 3074"):
        originals.cifar100(tmp_path)


def test_tiny_images_are_the_last_ones_stored_by_column(
    tmp_path: Path, colours: NDArray[np.uint8], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(originals, "TINY_IMAGES_KEPT", 3)
    (tmp_path / "tiny_images.bin").write_bytes(b"".join(x.tobytes(order="F") for x in colours))
    np.testing.assert_array_equal(originals.tiny_images(tmp_path), colours[2:])


def test_lsun_photos_become_their_middle_square(tmp_path: Path) -> None:
    photo = np.zeros((64, 96, 3), np.uint8)
    photo[:, 16:80] = 200  # the middle square
    buffer = io.BytesIO()
    Image.fromarray(photo).save(buffer, "WEBP", lossless=True)
    with lmdb.open(str(tmp_path / "classroom_val_lmdb")) as database, database.begin(write=True) as transaction:
        transaction.put(b"photo", buffer.getvalue())
    images = originals.lsun_classroom(tmp_path)
    assert images is not None
    assert images.shape == (1, 32, 32, 3)
    assert (images == 200).all()


def test_without_its_package_lsun_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "classroom_val_lmdb").mkdir()
    monkeypatch.setitem(sys.modules, "lmdb", None)
    with pytest.raises(ValueError, match="pip install lmdb"):
        originals.lsun_classroom(tmp_path)
