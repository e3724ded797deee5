"""Whatever is made of the published OpenAPI, the service answers as it says there, and never with a fault."""

import re

import surface
from goodcert.serve.proof.signing import create_key


def test_schemathesis_finds_nothing(start, tmp_path, write_model, record_property):
    write_model(tmp_path / "models", resize="area", color="rgb")
    create_key(tmp_path / "keys")
    ledger = f"sqlite:///{tmp_path / 'ledger.db'}"
    with start(ledger_url=ledger, signing_keys=tmp_path / "keys") as service:
        done = surface.attack(f"http://127.0.0.1:{service.port}", examples=5)
        (stats,) = service.client.get("/v2/models/stats").json()["model_stats"]
        assert stats["inference_count"] > 10
        assert service.metric("goodcert_rejections_total", code="internal_error") is None
    assert done.returncode == 0, done.stdout + done.stderr
    tried = re.search(r"(\d+) generated", done.stdout)
    assert tried
    assert int(tried[1]) > 300
    record_property("found", f"{tried[1]} requests made from the OpenAPI, 0 failures")
