"""`goodcert ledger`: what a person is told, and what is written."""

import asyncio
import csv
import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from sqlalchemy import delete

from goodcert.cli import main as cli
from goodcert.serve.ledger.database import connect, existing
from goodcert.serve.ledger.tables import certificates
from goodcert.serve.ledger.writer import Writer
from goodcert.serve.proof.signing import Signer, create_key, read_keys
from serve.ledger.conftest import body


@pytest.fixture
def url(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A ledger of ten certificates, its checkpoints signed with a key published in keys.json."""
    url = f"sqlite:///{tmp_path / 'ledger.db'}"
    create_key(tmp_path / "keys")
    signer = Signer(read_keys(tmp_path / "keys"))
    (tmp_path / "keys.json").write_text(json.dumps(signer.published()))

    async def record() -> None:
        writer = Writer(connect(url, writes=True), signer)
        await writer.append([body(number) for number in range(10)])
        await writer.close()

    asyncio.run(record())
    monkeypatch.setenv("GOODCERT_LEDGER_URL", url)
    return url


def test_a_whole_ledger_is_said_to_be_whole(url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["ledger", "checkpoint"]) == 0
    (tmp_path / "kept.jws").write_text(capsys.readouterr().out)
    held = ["--keys", str(tmp_path / "keys.json"), "--checkpoint", str(tmp_path / "kept.jws")]
    assert cli.main(["ledger", "verify", *held]) == 0
    assert capsys.readouterr().out == (
        "the chain is whole: certificates 1 to 10, 1 checkpoints; the checkpoint that was kept is of 10\n"
    )


def test_a_deletion_is_told_and_shows_in_the_status(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    with existing(url, writes=True).begin() as connection:
        connection.execute(delete(certificates).where(certificates.c.seq == 4))
    assert cli.main(["ledger", "verify"]) == 1
    said = capsys.readouterr().out
    assert "certificate 4 is missing" in said
    assert "NOT what was written" in said


def test_pruning_deletes_the_oldest_and_leaves_a_chain(
    url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = ["--before", "2026-01-01T00:00:04+00:00", "--signing-keys", str(tmp_path / "keys")]
    assert cli.main(["ledger", "prune", *before]) == 0
    assert cli.main(["ledger", "verify", "--keys", str(tmp_path / "keys.json")]) == 0
    assert capsys.readouterr().out == (
        "4 certificates deleted\nthe chain is whole: certificates 5 to 10, 2 checkpoints\n"
    )


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_an_export_has_a_row_for_each_certificate(url: str, tmp_path: Path, kind: str) -> None:
    file = tmp_path / f"out.{kind}"
    assert cli.main(["ledger", "export", str(file), "--since", "2026-01-01T00:00:07Z"]) == 0
    text = file.read_bytes().decode("utf-8", "replace").splitlines()
    rows = list(csv.DictReader(text)) if kind == "csv" else pq.read_table(file).to_pylist()
    assert [row["id"] for row in rows] == [f"{number:032x}" for number in (7, 8, 9)]
    assert float(rows[0]["confidence_lower_bound"]) == 1 / 3
    assert rows[0]["certified_radius"] in ("", None)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["verify", "--url", "sqlite:///nowhere.db"], "no such file"),
        (["verify", "--url", "postgresql://goodcert@127.0.0.1:9/none"], "does not answer"),
        (["verify", "--checkpoint", "x"], "needs --keys"),
        (["export", "out.txt"], r".csv or .parquet"),
        (["prune", "--before", "yesterday"], "yesterday"),
    ],
)
def test_what_cannot_be_done_is_said(
    url: str, capsys: pytest.CaptureFixture[str], words: list[str], said: str
) -> None:
    assert cli.main(["ledger", *words]) == 2
    assert said in capsys.readouterr().err
