"""Hostile model files are refused by name, in a process of their own, and nothing else notices."""

import os
import re
import signal
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import pytest

import hostile_models
from goodcert.engine import EngineError
from goodcert.engine.sandbox.parent import MOST_REASON, Limits, Quarantine, plain
from hostile_models import SIDECAR, Hostile, changed, good, node, ones

KINDS = list(hostile_models.hostile())


@pytest.fixture(scope="module")
def quarantine() -> Iterator[Quarantine]:
    with Quarantine() as shared:
        yield shared


def refusal(quarantine: Quarantine, model: bytes, sidecar: bytes | None = None) -> str:
    with pytest.raises(EngineError) as refused:
        quarantine.examine(model, sidecar)
    return str(refused.value)


def bare() -> bytes:
    return changed(lambda model: model.ClearField("metadata_props"))


def test_there_are_hundreds_of_kinds_and_no_two_are_one() -> None:
    assert len({kind.name for kind in KINDS}) == len(KINDS) >= 240


def test_a_good_model_is_accepted_with_its_metadata_inside_or_beside_it(quarantine: Quarantine) -> None:
    quarantine.examine(good())
    quarantine.examine(bare(), SIDECAR)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_a_hostile_file_is_refused_with_a_reason_that_names_the_culprit(
    quarantine: Quarantine, kind: Hostile, record_property: Callable[[str, object], None]
) -> None:
    reason = refusal(quarantine, kind.make(), kind.sidecar)
    assert re.search(kind.culprit, reason), reason
    assert reason.isprintable()
    assert len(reason) <= MOST_REASON + len("...")
    assert "processor time" not in reason  # none needs the clock to be refused
    assert "could not be examined" not in reason  # nor an error that nobody foresaw
    record_property("family", kind.family)


def test_after_all_of_them_the_same_process_accepts_a_good_one(quarantine: Quarantine) -> None:
    quarantine.examine(good())


def test_too_much_processor_time_is_a_reason() -> None:
    names = ["v0", *(f"v{i}" for i in range(1, 60)), "h"]
    layers = [node("Conv", [a, "k"], b, pads=[1] * 4) for a, b in pairwise(names)]
    slow = hostile_models.model(
        [node("Conv", ["x", "first"], "v0", pads=[1] * 4), *layers],
        {"first": ones(256, 1, 3, 3), "k": ones(256, 256, 3, 3)},
        weight=ones(256 * 16, 3),
    ).SerializeToString()
    with Quarantine(Limits(seconds=1)) as quarantine:
        assert "more than 1 s" in refusal(quarantine, slow)


def test_too_much_memory_is_a_reason() -> None:
    large = hostile_models.model(
        [node("Tile", ["x", "s"])], {"s": hostile_models.sizes(1, 64, 64, 64)}
    ).SerializeToString()
    with Quarantine(Limits(memory_bytes=2**26)) as quarantine:
        assert "memory" in refusal(quarantine, large)
        quarantine.examine(good())


def test_the_process_has_no_keys_is_started_anew_when_killed_and_ends_with_the_block(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("GOODCERT_API_KEYS", "secret")
    with Quarantine() as quarantine:
        assert b"secret" not in Path(f"/proc/{quarantine.pid}/environ").read_bytes()
        os.kill(quarantine.pid, signal.SIGKILL)
        assert "failed" in refusal(quarantine, good())
        quarantine.examine(good())
        pid = quarantine.pid
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_a_file_that_kills_its_examiner_takes_no_one_along(quarantine: Quarantine) -> None:
    """As a parser with a flaw would: here the fork is killed by a limit that no file can satisfy."""
    with Quarantine(Limits(memory_bytes=2**16)) as narrow:
        assert refusal(narrow, good())
        assert refusal(narrow, good())
    quarantine.examine(good())


def test_a_reason_is_one_short_line() -> None:
    assert plain("a\nb\x1b[31m" + "c" * 1000) == "a?b?[31m" + "c" * (MOST_REASON - 8) + "..."
