"""Whatever was given out stays verifiable: a folder for each format, made by make.py when the format was new."""

import asyncio
import json
import shutil
from pathlib import Path

import pytest

from goodcert.cli import main as cli
from goodcert.serve.ledger.audit import audit
from goodcert.serve.ledger.database import connect, existing
from goodcert.serve.ledger.export import COLUMNS
from goodcert.serve.ledger.reader import Reader
from goodcert.serve.ledger.writer import Writer
from goodcert.serve.proof.claims import FORMATS, NEWEST, read
from goodcert.serve.proof.signing import CERTIFICATE, key_set, verified
from serve.ledger.conftest import body

HERE = Path(__file__).parent
FOLDERS = [HERE / str(number) for number in FORMATS]


@pytest.fixture(params=FOLDERS, ids=lambda folder: folder.name)
def folder(request: pytest.FixtureRequest) -> Path:
    return Path(request.param)


@pytest.fixture
def ledger(folder: Path, tmp_path: Path) -> str:
    """The URL of a copy: SQLite writes beside what it opens."""
    return f"sqlite:///{shutil.copy(folder / 'ledger.db', tmp_path)}"


def test_a_certificate_names_its_format_from_the_second_one_on(folder: Path) -> None:
    keys = key_set((folder / "keys.json").read_bytes())
    for token in folder.glob("[!c]*.jws"):
        body = read(verified(token.read_text(), keys, CERTIFICATE))
        assert body.get("format", 1) == int(folder.name)
        assert ("format" in body) == (folder.name != "1")


@pytest.mark.parametrize("name", ["ibp", "radius", "crown"])
def test_a_certificate_holds_with_its_model(folder: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    model = folder / "models" / "tiny" / "1" / "model.onnx"
    files = [str(folder / f"{name}.jws"), str(folder / "image.png"), "--keys", str(folder / "keys.json")]
    assert cli.main(["verify", *files, "--model", str(model)]) == 0
    assert "at all levels of ONNX Runtime, stays in the bounds" in capsys.readouterr().out


def test_a_ledger_is_whole(folder: Path, ledger: str, capsys: pytest.CaptureFixture[str]) -> None:
    kept = ["--keys", str(folder / "keys.json"), "--checkpoint", str(folder / "checkpoint.jws")]
    assert cli.main(["ledger", "verify", "--url", ledger, *kept]) == 0
    assert capsys.readouterr().out == (
        "the chain is whole: certificates 1 to 3, 1 checkpoints; the checkpoint that was kept is of 3\n"
    )


def test_a_ledger_goes_on_in_the_newest_format_and_is_exported(folder: Path, ledger: str, tmp_path: Path) -> None:
    async def record() -> None:
        writer = Writer(connect(ledger, writes=True))
        await writer.append([body(7)])
        await writer.close()

    asyncio.run(record())
    with existing(ledger).begin() as connection:
        assert audit(connection, None)[:2] == (1, 4)
        assert audit(connection, None).faults == []
    assert json.loads(Reader(existing(ledger)).certificate(f"{7:032x}") or b"")["format"] == NEWEST
    assert cli.main(["ledger", "export", str(tmp_path / "out.csv"), "--url", ledger]) == 0
    first, *rows = (tmp_path / "out.csv").read_text().splitlines()
    assert first.split(",") == list(COLUMNS)
    assert [int(row.rsplit(",", 1)[1]) for row in rows] == [int(folder.name)] * 3 + [NEWEST]
