"""The card: what was measured, and what to know before trusting it."""

from dataclasses import replace

import pytest

from goodcert import artifact
from goodcert.evaluation.benchmarks import BENCHMARKS
from goodcert.evaluation.card import card
from goodcert.evaluation.measures import OutResult, Results
from miniature import metadata

RESULTS = Results("0.01", 10, 90.0, 95.0, 0.8, {"noise": OutResult(5, 90.0, 50.0, 0.0, 0.2, 0.5, 10.0, 60.0)})


def text(artifacts: list[artifact.Artifact], in_pack: str) -> str:
    model = replace(artifacts[0], metadata=metadata(in_pack=in_pack))
    return card("tiny", "1", model, RESULTS, "goodcert evaluate")


def test_digits_are_called_clean_and_photos_are_not(artifacts: list[artifact.Artifact]) -> None:
    assert "of clean, centred images;" in text(artifacts, "mnist_train")
    assert "clean" not in text(artifacts, "cifar10_train").partition("Fitted to")[2].partition(";")[0]


@pytest.mark.parametrize("in_pack", ["cifar10_train", "svhn_train", "gtsrb_32_a_train"])
def test_a_card_of_photos_says_that_block_marks_alone_may_tell_sets_apart(
    in_pack: str, artifacts: list[artifact.Artifact]
) -> None:
    assert "block marks alone" in text(artifacts, in_pack)
    assert all(note in text(artifacts, in_pack) for note in BENCHMARKS[in_pack].notes)
