"""Makes what is kept of a format, once, when it is new: `python tests/formats/make.py tests/formats/N`.

A folder has a small model, an image, certificates of it, a SQLite ledger with its last checkpoint, and the public
key of them all. The private key is thrown away: nobody makes another one of an old format.
"""

import asyncio
import json
import sqlite3
import sys
import tempfile
from datetime import UTC, datetime, tzinfo
from io import BytesIO
from pathlib import Path

import httpx
import numpy as np
from PIL import Image

from goodcert.artifact import Metadata, write
from goodcert.serve.certifier import certifier as heart
from goodcert.serve.ledger import writer
from goodcert.serve.proof.signing import Signer, create_key, read_keys
from goodcert.serve.server.app import create_app
from goodcert.serve.settings.settings import Settings
from graphs import classifier

CERTIFICATES = {
    "ibp": {"epsilon": "0.01"},
    "radius": {"epsilon": "0.05", "radius": "true"},
    "crown": {"epsilon": "0.02", "method": "crown"},
}


class Then(datetime):
    """So that no clock finds the certificates to be of the future."""

    @classmethod
    def now(cls, tz: tzinfo | None = None) -> datetime:
        return datetime(2024, 2, 3, 4, 5, 6, 70, UTC).astimezone(tz)


def model(path: Path) -> None:
    about = Metadata(
        labels=("a", "b", "c"), height=8, width=8, color="grey", epsilon="0.05", threshold=0.7, method="random"
    )
    graph = classifier(seed=1, classes=3)
    for size in ("N", 3):
        dimension = graph.graph.output[0].type.tensor_type.shape.dim.add()
        setattr(dimension, "dim_param" if size == "N" else "dim_value", size)
    write(graph, about, path)


def image() -> bytes:
    buffer = BytesIO()
    pixels = np.random.default_rng(1).integers(0, 256, (8, 8), dtype=np.uint8)
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


async def certify(folder: Path, settings: Settings) -> None:
    app = create_app(settings)
    upload = (folder / "image.png").read_bytes()
    headers = {"Content-Type": "image/png", "Accept": "application/jose"}
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://service") as client,
    ):
        for name, params in CERTIFICATES.items():
            answer = await client.post("/v1/models/tiny/certify", content=upload, params=params, headers=headers)
            (folder / f"{name}.jws").write_text(answer.raise_for_status().text)


def shrink(ledger: Path) -> None:
    """One file, of small pages."""
    with sqlite3.connect(ledger) as connection:
        for statement in ("PRAGMA journal_mode=DELETE", "PRAGMA page_size=512", "VACUUM"):
            connection.execute(statement)
        (token,) = connection.execute("SELECT jws FROM checkpoints ORDER BY seq DESC LIMIT 1").fetchone()
    connection.close()
    (ledger.parent / "checkpoint.jws").write_text(token)


def main(folder: Path) -> None:
    heart.datetime = writer.datetime = Then
    folder.mkdir(parents=True)
    model(folder / "models" / "tiny" / "1" / "model.onnx")
    (folder / "image.png").write_bytes(image())
    with tempfile.TemporaryDirectory() as secret:
        create_key(Path(secret))
        (folder / "keys.json").write_text(json.dumps(Signer(read_keys(Path(secret))).published()) + "\n")
        url = f"sqlite:///{folder / 'ledger.db'}"
        settings = Settings(models=folder / "models", signing_keys=Path(secret), ledger_url=url, threads=1)
        asyncio.run(certify(folder, settings))
    shrink(folder / "ledger.db")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
