"""A folder of models from anybody, served by the real engine: the good one answers, the others say why not."""

import asyncio
import json
import os
import re

import httpx
import numpy as np
import pytest

import hostile_models
from goodcert.serve.server.app import create_app
from goodcert.serve.settings.settings import Settings
from hostile_models import SIDECAR

KINDS = {
    "loop": hostile_models.CONTROL["an endless Loop"],
    "outside": hostile_models.WEIGHTS["weights above the folder"],
    "nan": hostile_models.WEIGHTS["NaN"],
    "bomb": hostile_models.BOMBS["Tile of the image"],
    "truncated": hostile_models.FILES["half a model"],
    "coupled": hostile_models.COUPLED["the mean of the batch"],
    "random": hostile_models.RANDOM["noise that is added"],
    "forged": hostile_models.NONSENSE["a line forged in a name"],
    "inputs": (lambda: hostile_models.changed(hostile_models.GRAPHS["a second input"][0]), "inputs"),
}  # fmt: skip


def put(root, name, model, sidecar=None):
    folder = root / name / "1"
    folder.mkdir(parents=True)
    (folder / "model.onnx").write_bytes(model)
    if sidecar is not None:
        (folder / "model.toml").write_bytes(sidecar)


async def answers(settings, ask):
    app = create_app(settings)
    transport = httpx.ASGITransport(app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://a") as http,
    ):
        return await ask(http)


def test_a_good_model_is_served_among_hostile_ones_which_are_listed_with_their_reasons(tmp_path, encode):
    for name, (make, _) in KINDS.items():
        put(tmp_path, name, make())
    bare = hostile_models.changed(lambda model: model.ClearField("metadata_props"))
    put(tmp_path, "good", bare, SIDECAR)
    os.mkfifo(tmp_path / "good" / "pipe")

    async def ask(http):
        image = encode(np.zeros((4, 4), np.uint8))
        path = "/v1/models/good/certify"
        certificate = await http.post(path, content=image, headers={"Content-Type": "image/png"})
        return certificate, await http.get("/v1/models"), await http.get("/health/ready")

    settings = Settings(models=tmp_path, device="cpu", threads=1, request_timeout_ms=60_000)
    certificate, listed, ready = asyncio.run(answers(settings, ask))
    assert certificate.json()["prediction"]["label"] in "abc"
    assert ready.status_code == 200
    told = {model["name"]: model for model in listed.json()["models"]}
    assert told.pop("good")["state"] == "ready"
    assert told.keys() == KINDS.keys()
    for name, model in told.items():
        assert model["state"] == "refused"
        assert re.search(KINDS[name][1], model["reason"]), model["reason"]
        assert json.dumps(str(tmp_path))[1:-1] not in model["reason"]


def test_what_is_no_regular_file_is_refused_without_being_opened_for_long(tmp_path, load_one):
    folder = tmp_path / "pipe" / "1"
    folder.mkdir(parents=True)
    os.mkfifo(folder / "model.onnx")
    assert "regular file" in load_one(tmp_path)


def test_a_file_larger_than_it_may_be_is_refused_before_it_is_read(tmp_path, load_one):
    put(tmp_path, "huge", b"")
    with open(tmp_path / "huge" / "1" / "model.onnx", "wb") as file:
        file.truncate(2**40)
    assert "expected at most" in load_one(tmp_path)


@pytest.mark.parametrize("part", ["model.onnx", "model.toml", "1", ""])
def test_a_link_anywhere_below_the_root_is_refused(tmp_path, load_one, part):
    put(tmp_path / "outside", "tiny", hostile_models.good(), SIDECAR)
    root = tmp_path / "models"
    put(root, "tiny", hostile_models.good(), SIDECAR)
    path = root / "tiny" / ("1" if part.startswith("model") else "") / part
    path.rename(tmp_path / "moved")
    path.symlink_to(tmp_path / "moved")
    assert "link" in load_one(root)
