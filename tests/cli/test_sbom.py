"""`goodcert sbom`: what is installed, as CycloneDX."""

import json
from importlib.metadata import version
from typing import Any

import pytest

from goodcert.cli import main as cli


@pytest.fixture
def bill(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    assert cli.main(["sbom"]) == 0
    told: dict[str, Any] = json.loads(capsys.readouterr().out)
    return told


def test_everything_that_serves_is_in_it_with_its_version(bill: dict[str, Any]) -> None:
    versions = {part["name"]: part["version"] for part in bill["components"]}
    for name in ("fastapi", "starlette", "uvicorn", "torch", "onnxruntime", "pillow"):
        assert versions[name] == version(name)
    assert (bill["bomFormat"], bill["specVersion"]) == ("CycloneDX", "1.6")
    assert bill["metadata"]["component"]["name"] == "goodcert"


def test_what_only_developers_use_is_not(bill: dict[str, Any]) -> None:
    assert not {part["name"] for part in bill["components"]} & {"pytest", "mypy", "ruff", "schemathesis"}


def test_who_needs_whom_is_told_by_names_that_are_in_it(bill: dict[str, Any]) -> None:
    needs = {entry["ref"]: entry.get("dependsOn", []) for entry in bill["dependencies"]}
    assert "starlette" in needs["fastapi"]
    assert needs.keys() == {part["bom-ref"] for part in bill["components"]} | {"goodcert"}
    assert {name for names in needs.values() for name in names} <= needs.keys()


def test_every_package_has_an_address(bill: dict[str, Any]) -> None:
    assert all(part["purl"].startswith(f"pkg:pypi/{part['name']}@") for part in bill["components"])
