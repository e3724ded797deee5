"""The way of one plain PNG request, as scripts/way.py measures it with the default model."""

import importlib.util
from pathlib import Path

MOST_MODULES, MOST_CHANGES = 34, 90

SCRIPT = Path(__file__).parents[2] / "scripts" / "way.py"


def test_one_plain_request_meets_few_modules_and_seldom_changes_between_them(record_property):
    spec = importlib.util.spec_from_file_location("way", SCRIPT)
    assert spec
    assert spec.loader
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    way = script.shortest()
    assert len(way.modules) <= MOST_MODULES, way.modules
    assert way.changes <= MOST_CHANGES, way.stays
    record_property("found", f"{len(way.modules)} modules, {way.changes} changes between them")
