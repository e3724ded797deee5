"""Measure how many of the cases that ship with onnx are bounded, for docs/operators.md."""

import json
import runpy
from pathlib import Path

ROOT = Path(__file__).parent.parent

if __name__ == "__main__":
    told = runpy.run_path(str(ROOT / "tests/bounds/test_conformance.py"))["stated"]()
    (ROOT / "docs/conformance.json").write_text(json.dumps(told, indent=2) + "\n", encoding="utf-8")
    print(f"{told['contained']} contained, {told['refused']} refused, {told['skipped']} skipped")
