"""The HTTP surface of a running service against its own OpenAPI, by schemathesis."""

import json
import os
import subprocess
import sys
from pathlib import Path

import httpx

TESTS = Path(__file__).parent
SEED = 1


def attack(address: str, examples: int) -> "subprocess.CompletedProcess[str]":
    """Every path, so many examples each, and sequences of them; ends with status 0 where nothing was found.

    The service must have a model that takes images of any size.
    """
    settings = ["--no-color", f"--config-file={TESTS / 'schemathesis.toml'}"]
    wanted = [f"{address}/openapi.json", f"--max-examples={examples}", f"--seed={SEED}"]
    command = [sys.executable, "-m", "schemathesis.cli", *settings, "run", *wanted]
    told = os.environ | {"PYTHONPATH": str(TESTS), "SURFACE_MODEL": json.dumps(model(address))}
    return subprocess.run(command, capture_output=True, text=True, check=False, env=told)


def model(address: str) -> dict[str, object]:
    """Name, version and input shape [1, C, H, W] of a model that is there."""
    name = httpx.get(f"{address}/v1/models").json()["models"][0]["name"]
    told = httpx.get(f"{address}/v2/models/{name}").json()
    shape = [1, *told["inputs"][0]["shape"][1:]]
    return {"model": name, "version": told["versions"][0], "shape": shape}
