"""docs/security.md names tests that exist, one or more for every promise, and an audit that took place."""

import ast
import re
from pathlib import Path

import pytest

from test_docs import script

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")
NAMED = re.findall(r"`(tests/[^`]+)`", PAGE)


def names(tree: ast.Module | ast.ClassDef) -> set[str]:
    """Of the tests in a file, those of a class after its name."""
    own = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef)]
    return own | {f"{node.name}::{name}" for node in classes for name in names(node)}


@pytest.mark.parametrize("named", NAMED)
def test_every_test_that_is_named_exists(named: str) -> None:
    path, _, name = named.partition("::")
    assert name in names(ast.parse((ROOT / path).read_text(encoding="utf-8")))


def test_every_promise_is_attacked() -> None:
    rows = re.findall(r"^\| (\d+) \|.+\|(.+)\|$", PAGE, flags=re.MULTILINE)
    assert [int(number) for number, _ in rows] == list(range(1, 14))
    assert all("`tests/" in tests for _, tests in rows)


def test_every_script_that_is_named_exists() -> None:
    scripts = re.findall(r"`(scripts/[^`]+)`", PAGE)
    assert scripts
    assert all((ROOT / name.split()[0]).exists() for name in scripts)


GOOD = {"name": "a", "version": "1", "vulns": []}
BAD = {"name": "b", "version": "2", "vulns": [{"id": "CVE-1"}, {"id": "CVE-2"}]}
MISSED = {"name": "c", "skip_reason": "not found"}


def test_an_audit_tells_what_was_found_and_what_was_not_asked_about() -> None:
    told = script("audit").table([GOOD, BAD, MISSED], "2026-01-31")
    assert told.splitlines()[-1] == "| 2026-01-31 | 2 | c | b 2: CVE-1, CVE-2 |"


def test_an_audit_that_reached_no_database_says_nothing() -> None:
    with pytest.raises(ValueError, match="2 of 3"):
        script("audit").table([GOOD, MISSED, MISSED], "2026-01-31")


def test_a_run_against_the_openapi_is_told_only_where_everything_passed() -> None:
    told = script("surface").told("Test cases:\n  669 generated, 669 passed\n", 20, 90)
    assert told.endswith("`scripts/surface.py --examples 20` made 669 requests in 2 minutes and found nothing.\n")
    for output in ("669 generated, 668 passed, 1 failed", ""):
        with pytest.raises(ValueError, match="everything passed"):
            script("surface").told(output, 20, 90)
