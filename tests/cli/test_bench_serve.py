"""The parts of `goodcert bench serve` that need no quiet machine."""

import asyncio
import shutil
from pathlib import Path

import numpy as np
import pytest

from goodcert.cli.bench.serving import load as loading
from goodcert.cli.bench.serving import processes
from goodcert.cli.bench.serving.bodies import BODIES, images
from goodcert.cli.bench.serving.load import Request, load
from goodcert.cli.bench.serving.results import ServingRow, middle, plot, table

ROW = ServingRow("S", "PNG", 64, 0.2, 0.02, 0.1, 0.15, 3.0, 5.0)


def test_the_share_is_what_decoding_and_the_engine_take_of_the_servers_time() -> None:
    assert ROW.share == pytest.approx(0.75)
    assert ROW.overhead_ms == pytest.approx(0.05)
    assert "| S | PNG | 64 | 0.200 | 0.020 | 0.100 | 0.150 | 75% | 0.050 | 3.0 | 5.0 |" in table([ROW])


def test_the_middle_round_counts_as_a_whole() -> None:
    rounds = [ServingRow("S", "PNG", 1, server, server, 0, 0, 0, 0) for server in (3.0, 1.0, 2.0)]
    assert middle(rounds) is rounds[2]
    assert middle(rounds[:2]) is rounds[1]


def test_the_plot_is_a_picture(tmp_path: Path) -> None:
    plot([ROW], tmp_path / "plot.png")
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")


def test_every_kind_of_body_holds_the_image(make_default_metadata: object) -> None:
    (image,) = images(1)
    for body in BODIES.values():
        prepared = body.understand(body.encode(image), make_default_metadata)  # type: ignore[arg-type]
        ball = prepared.ball
        assert np.array_equal(ball.pixels[0], image)  # type: ignore[union-attr]


@pytest.fixture
def make_default_metadata() -> object:
    from goodcert import artifact, zoo

    return artifact.read(zoo.folder() / "mnist-good100" / "1" / "model.onnx").metadata


@pytest.fixture(params=["wrk", "own"])
def generator(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "own":
        monkeypatch.setattr(loading.shutil, "which", lambda _: None)
    elif not shutil.which("wrk"):
        pytest.skip("wrk is not installed")
    return str(request.param)


@pytest.mark.parametrize(("method", "failures"), [("/", False), ("/missing", True)])
def test_a_load_counts_answers_and_failures(generator: str, method: str, failures: bool, tmp_path: Path) -> None:
    """Against a server that takes any body at /."""
    (tmp_path / "app.py").write_text(
        "async def app(scope, receive, send):\n"
        "    body, more = b'', True\n"
        "    while more:\n"
        "        message = await receive()\n"
        "        body, more = body + message.get('body', b''), message.get('more_body')\n"
        "    right = body == bytes(range(256)) and (b'x-kind', b'a b') in scope['headers']\n"
        "    status = 200 if scope['path'] == '/' and right or scope['method'] == 'GET' else 400\n"
        "    headers = [(b'content-length', b'2')]\n"
        "    await send({'type': 'http.response.start', 'status': status, 'headers': headers})\n"
        "    await send({'type': 'http.response.body', 'body': b'{}'})\n"
        "import sys, uvicorn\n"
        "uvicorn.run(app, port=int(sys.argv[1]), lifespan='off', log_level='error')\n"
    )
    request = Request({"X-Kind": "a b"}, bytes(range(256)))
    with processes.running([str(tmp_path / "app.py")]) as server:
        seen = load(server.port, method, [request], 4, 1)
        assert server.cpu_seconds() > 0
    assert (seen.failures > 0) == failures
    assert (seen.answers > 0) != failures
    assert failures or 0 < seen.p50_ms <= seen.p99_ms


def test_the_noop_server_answers_and_ends() -> None:
    with processes.noop() as server:
        assert server.has("/anything")
    assert not _listening(server.port)


def _listening(port: int) -> bool:
    async def connect() -> bool:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            return False
        writer.close()
        return True

    return asyncio.run(connect())


def test_a_server_that_ends_at_once_is_an_error_and_not_a_wait(tmp_path: Path) -> None:
    (tmp_path / "ends.py").write_text("raise SystemExit('no model')")
    with (
        pytest.raises(RuntimeError, match=r"did not get ready.*no model"),
        processes.running([str(tmp_path / "ends.py")]),
    ):
        pass
