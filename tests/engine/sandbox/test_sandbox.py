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
from goodcert.engine.sandbox.parent import MOST_REASON, Sandbox, SandboxLimits, plain
from hostile_models import SIDECAR, Hostile, changed, good, node, ones

KINDS = list(hostile_models.hostile())


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox() as shared:
        yield shared


def refusal(sandbox: Sandbox, model: bytes, sidecar: bytes | None = None) -> str:
    with pytest.raises(EngineError) as refused:
        sandbox.examine(model, sidecar)
    return str(refused.value)


def bare() -> bytes:
    return changed(lambda model: model.ClearField("metadata_props"))


def test_there_are_hundreds_of_kinds_and_no_two_are_one() -> None:
    assert len({kind.name for kind in KINDS}) == len(KINDS) >= 240


def test_a_good_model_is_accepted_with_its_metadata_inside_or_beside_it(sandbox: Sandbox) -> None:
    sandbox.examine(good())
    sandbox.examine(bare(), SIDECAR)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_a_hostile_file_is_refused_with_a_reason_that_names_the_culprit(
    sandbox: Sandbox, kind: Hostile, record_property: Callable[[str, object], None]
) -> None:
    reason = refusal(sandbox, kind.make(), kind.sidecar)
    assert re.search(kind.culprit, reason), reason
    assert reason.isprintable()
    assert len(reason) <= MOST_REASON + len("...")
    assert "processor time" not in reason  # none needs the clock to be refused
    assert "could not be examined" not in reason  # nor an error that nobody foresaw
    record_property("family", kind.family)


def test_after_all_of_them_the_same_process_accepts_a_good_one(sandbox: Sandbox) -> None:
    sandbox.examine(good())


def test_too_much_processor_time_is_a_reason() -> None:
    names = ["v0", *(f"v{i}" for i in range(1, 60)), "h"]
    layers = [node("Conv", [a, "k"], b, pads=[1] * 4) for a, b in pairwise(names)]
    slow = hostile_models.model(
        [node("Conv", ["x", "first"], "v0", pads=[1] * 4), *layers],
        {"first": ones(256, 1, 3, 3), "k": ones(256, 256, 3, 3)},
        weight=ones(256 * 16, 3),
    ).SerializeToString()
    with Sandbox(SandboxLimits(seconds=1)) as sandbox:
        assert "more than 1 s" in refusal(sandbox, slow)


def test_too_much_memory_is_a_reason() -> None:
    large = hostile_models.model(
        [node("Tile", ["x", "s"])], {"s": hostile_models.sizes(1, 64, 64, 64)}
    ).SerializeToString()
    with Sandbox(SandboxLimits(memory_bytes=2**26)) as sandbox:
        assert "memory" in refusal(sandbox, large)
        sandbox.examine(good())


def test_the_process_has_no_keys_is_started_anew_when_killed_and_ends_with_the_block(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("GOODCERT_API_KEYS", "secret")
    with Sandbox() as sandbox:
        assert b"secret" not in Path(f"/proc/{sandbox.pid}/environ").read_bytes()
        os.kill(sandbox.pid, signal.SIGKILL)
        assert "failed" in refusal(sandbox, good())
        sandbox.examine(good())
        pid = sandbox.pid
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_a_file_that_kills_its_examiner_takes_no_one_along(sandbox: Sandbox) -> None:
    """As a parser with a flaw would: here the fork is killed by a limit that no file can satisfy."""
    with Sandbox(SandboxLimits(memory_bytes=2**16)) as narrow:
        assert refusal(narrow, good())
        assert refusal(narrow, good())
    sandbox.examine(good())


def test_a_reason_is_one_short_line() -> None:
    assert plain("a\nb\x1b[31m" + "c" * 1000) == "a?b?[31m" + "c" * (MOST_REASON - 8) + "..."
