"""Every model meets images of its own shape."""

import struct
from gzip import compress
from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat

from goodcert.evaluation import benchmarks
from goodcert.evaluation.benchmarks import BENCHMARKS, fitted, load_inside, load_outside
from goodcert.training.recipes import RECIPES
from miniature import metadata


def test_digits_are_told_from_seven_sets_that_need_nothing_more(folder: Path) -> None:
    facts = metadata()
    outside = load_outside(benchmarks.of(facts), facts, folder)
    assert list(outside) == [
        "Fashion-MNIST", "letters", "notMNIST", "grey CIFAR-10", "uniform noise", "smoothed noise",
        "permuted noise",
    ]  # fmt: skip
    assert {x.shape[1:] for x in outside.values()} == {(1, 8, 8)}


def test_colour_photos_are_told_from_five(folder: Path) -> None:
    facts = metadata(in_pack="cifar10_train", size=32)
    inside, labels = load_inside(benchmarks.of(facts), facts, folder)
    outside = load_outside(benchmarks.of(facts), facts, folder)
    assert inside.shape[1:] == (3, 32, 32)
    assert len(labels) == len(inside)
    assert list(outside) == [
        "Tiny ImageNet",
        "traffic signs",
        "MNIST in colour",
        "uniform noise",
        "smoothed noise",
    ]
    assert {x.shape[1:] for x in outside.values()} == {(3, 32, 32)}


def test_traffic_signs_are_tested_on_their_last_images_and_told_from_four(folder: Path, tmp_path: Path) -> None:
    for pack in folder.iterdir():
        (tmp_path / pack.name).symlink_to(pack)
    (tmp_path / "gtsrb_32_a.npz").unlink()
    signs = np.zeros((4003, 32, 32, 3), np.uint8)
    signs[4000:] = 9
    np.savez(tmp_path / "gtsrb_32_a.npz", images=signs, labels=np.arange(4003))
    facts = metadata(in_pack="gtsrb_32_a_train", size=32)
    inside, labels = load_inside(benchmarks.of(facts), facts, tmp_path)
    assert labels.tolist() == [4000, 4001, 4002]
    assert (inside == 9).all()
    assert list(load_outside(benchmarks.of(facts), facts, tmp_path)) == [
        "CIFAR-10", "Tiny ImageNet", "uniform noise", "smoothed noise",
    ]  # fmt: skip


def test_every_recipe_can_be_measured_on_images_that_it_does_not_train_on() -> None:
    for recipe in RECIPES.values():
        assert BENCHMARKS[recipe.in_pack].inside != recipe.in_pack


def test_a_set_of_the_paper_joins_when_its_file_is_there(folder: Path, tmp_path: Path) -> None:
    for pack in folder.iterdir():
        (tmp_path / pack.name).symlink_to(pack)
    letters = struct.pack(">4I", 0x803, 1, 28, 28) + bytes(784)
    (tmp_path / "emnist-letters-test-images-idx3-ubyte.gz").write_bytes(compress(letters))
    assert "EMNIST letters" in load_outside(benchmarks.of(metadata()), metadata(), tmp_path)


def test_house_numbers_come_as_a_pack_or_as_published(tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), dtype=np.uint8)
    svhn = BENCHMARKS["cifar10_train"].outside["SVHN"]
    assert svhn(tmp_path, metadata()) is None
    savemat(tmp_path / "test_32x32.mat", {"X": images.transpose(1, 2, 3, 0)})
    np.testing.assert_array_equal(svhn(tmp_path, metadata()), images)
    np.savez(tmp_path / "svhn_test.npz", images=images[:1])
    np.testing.assert_array_equal(svhn(tmp_path, metadata()), images[:1])


@pytest.mark.parametrize(("in_pack", "inside"), [("mnist_train", "mnist_test"), ("cifar10_train", "cifar10_test")])
def test_the_test_set_and_noise_are_enough(in_pack: str, inside: str, folder: Path, tmp_path: Path) -> None:
    (tmp_path / f"{inside}.npz").symlink_to(folder / f"{inside}.npz")
    facts = metadata(in_pack=in_pack)
    assert {"uniform noise", "smoothed noise"} <= load_outside(benchmarks.of(facts), facts, tmp_path).keys()


def test_small_grey_images_get_black_borders_and_three_like_channels() -> None:
    images = fitted(np.full((1, 2, 2), 9, np.uint8), metadata(in_pack="cifar10_train", size=4))
    assert images.shape == (1, 3, 4, 4)
    assert (images[0] == np.pad(np.full((2, 2), 9), 1)).all()


def test_digits_in_colour_have_no_frame_of_another_colour(tmp_path: Path) -> None:
    np.savez(tmp_path / "mnist_test.npz", images=np.zeros((3, 28, 28), np.uint8))
    digits = benchmarks.coloured_digits(tmp_path, metadata(in_pack="cifar10_train", size=32))
    assert digits.shape == (3, 32, 32, 3)
    assert (digits == digits[:, :1, :1]).all()  # black all over becomes one colour all over
    assert digits.any()


def test_a_model_of_something_else_has_no_benchmark() -> None:
    with pytest.raises(ValueError, match="benchmarks exist for mnist_train, cifar10_train, svhn_train, gtsrb_"):
        benchmarks.of(metadata(in_pack="birds"))
