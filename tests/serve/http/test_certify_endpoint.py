"""The one endpoint for certificates: it says what the documented route says, and nobody holds up another."""

import asyncio
import socket
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from goodcert.serve.http import certify_endpoint, schemas

PATH = "/v1/models/tiny/certify"
IMAGE = {"Content-Type": "image/png"}
ASKED = [
    (PATH, IMAGE),
    (PATH + "?epsilon=0.3", IMAGE),
    (PATH + "?method=crown&radius=true", IMAGE),
    ("/v1/models/tiny/versions/1/certify", IMAGE),
    ("/v1/models/tiny/versions/2/certify", IMAGE),
    ("/v1/models/other/certify", IMAGE),
    ("/v1/models//certify", IMAGE),
    ("/v1/models/tiny/certify/", IMAGE),
    (PATH + "?epsilon=2", IMAGE),
    (PATH + "?epsilon=0.1&epsilon=0.1", IMAGE),
    (PATH + "?eps=0.1", IMAGE),
    (PATH, {}),
    (PATH, {"Content-Type": "IMAGE/PNG; q=1"}),
    (PATH, {"Content-Type": "text/plain"}),
    (PATH, {"Content-Type": "multipart/form-data"}),
    (PATH, {"Content-Type": "Multipart/Form-Data; boundary=XX"}),
    (PATH + "?epsilon=2", {"Content-Type": "multipart/form-data; boundary=XX"}),
    (PATH, IMAGE | {"X-Priority": "bulk"}),
    (PATH, IMAGE | {"X-Priority": "urgent"}),
    (PATH, IMAGE | {"X-Request-Timeout-Ms": "5000"}),
    (PATH, IMAGE | {"X-Request-Timeout-Ms": "soon"}),
]


def told(answer):
    """An answer without what no two answers share."""
    body = answer.json()
    body.pop("id", None)
    body.pop("issued_at", None)
    for entry in body.get("certificates", ()):
        entry.pop("id", None)
        entry.pop("issued_at", None)
    return answer.status_code, dict(answer.headers) | {"content-length": "", "x-request-id": ""}, body


def form(*images):
    head = b'--XX\r\nContent-Disposition: form-data; name="images"; filename="a"\r\n\r\n'
    return b"".join(head + image + b"\r\n" for image in images) + b"--XX--\r\n"


def test_requests_are_answered_as_the_documented_route_answers_them(application, png, monkeypatch):
    sent = (png, png[:40], b"", form(png, b"no image", png), form(png))

    async def answers():
        async with application() as (client, _):
            bodies = [(path, headers, body) for path, headers in ASKED for body in sent]
            return [told(await client.post(path, content=body, headers=h)) for path, h, body in bodies]

    raw = asyncio.run(answers())
    assert {len(body["certificates"]) for _, _, body in raw if "certificates" in body} == {1, 3}
    monkeypatch.setattr(certify_endpoint, "_named", lambda _: None)
    assert raw == asyncio.run(answers())
    assert {status for status, _, _ in raw} >= {200, 400, 404, 415, 422}


def test_an_answer_has_the_documented_form(application, png):
    async def body():
        async with application() as (client, _):
            return (await client.post(PATH, content=png, headers=IMAGE)).json()

    schemas.CertificateBody.model_validate(asyncio.run(body()))


def test_a_fault_of_ours_is_a_500_and_reaches_the_servers_log(application, png, monkeypatch, caplog):
    async def ask():
        async with application() as (client, _):
            monkeypatch.setattr(certify_endpoint, "certificate_body", lambda _: 1 / 0)
            return await client.post(PATH, content=png, headers=IMAGE)

    assert asyncio.run(ask()).status_code == 500
    assert ZeroDivisionError in [record.exc_info[0] for record in caplog.records if record.exc_info]


def grey(value):
    return np.full((4, 6), value, np.uint8)


def test_a_form_of_a_thousand_images_holds_up_others_by_one_batch_at_most(application, queued, encode):
    """Four quarters of a batch: the one that runs, and those that stand before the monitor's."""
    most, dark = 16, encode(grey(0))
    form = [("images", (str(i), dark, "image/png")) for i in range(1000)]

    async def play():
        async with application(max_batch=most) as (client, model):
            engine = model.engine
            engine.gate.clear()
            bulk = asyncio.create_task(client.post(PATH, files=form, timeout=60))
            assert await asyncio.to_thread(engine.entered.wait, 30)
            await queued(model, 1)
            waiting = len(model.batcher)
            monitor = asyncio.create_task(client.post(PATH, content=encode(grey(255)), headers=IMAGE))
            await queued(model, waiting + 1)
            engine.gate.set()
            assert (await monitor).status_code == 200
            entries = (await bulk).json()["certificates"]
            assert len(entries) == 1000
            assert all("error" not in entry for entry in entries)
            return [int(point.max(axis=(1, 2, 3)).sum()) for point in engine.points], engine.batches

    bright, sizes = asyncio.run(asyncio.wait_for(play(), 60))
    place = bright.index(1)
    assert sum(sizes[:place]) <= most
    assert max(sizes) <= most // 4 + 1


def test_two_forms_get_their_answers_side_by_side(application, queued, encode):
    async def play():
        async with application(max_batch=16) as (client, model):
            model.engine.gate.clear()
            forms = [[("images", ("a", encode(grey(v)), "image/png"))] * n for v, n in ((0, 500), (255, 5))]
            large, small = (asyncio.create_task(client.post(PATH, files=form, timeout=60)) for form in forms)
            await queued(model, 5)
            model.engine.gate.set()
            assert (await small).status_code == 200
            assert not large.done()
            await large

    asyncio.run(asyncio.wait_for(play(), 60))


def test_requests_of_different_epsilon_share_a_batch_and_get_their_own_answers(application, queued, png):
    async def play():
        async with application() as (client, model):
            paths = [f"{PATH}?epsilon={epsilon}" for epsilon in ("0", "0.1", "0.3", "0.1")]
            alone = [told(await client.post(path, content=png, headers=IMAGE)) for path in paths]
            model.engine.batches.clear()
            model.engine.gate.clear()
            first = asyncio.create_task(client.post(PATH, content=png, headers=IMAGE))
            assert await asyncio.to_thread(model.engine.entered.wait, 30)
            tasks = [asyncio.create_task(client.post(path, content=png, headers=IMAGE)) for path in paths]
            await queued(model, 4)
            model.engine.gate.set()
            assert [told(answer) for answer in await asyncio.gather(*tasks)] == alone
            await first
            assert model.engine.batches == [1, 4]

    asyncio.run(asyncio.wait_for(play(), 60))


def test_a_request_past_the_time_its_caller_gave_it_is_504_and_never_reaches_the_engine(application, png):
    async def play():
        async with application() as (client, model):
            model.engine.gate.clear()
            first = asyncio.create_task(client.post(PATH, content=png, headers=IMAGE))
            assert await asyncio.to_thread(model.engine.entered.wait, 30)
            late = await client.post(PATH, content=png, headers=IMAGE | {"X-Request-Timeout-Ms": "1"})
            assert (late.status_code, late.json()["code"]) == (504, "deadline_exceeded")
            model.engine.gate.set()
            assert (await first).status_code == 200
            assert model.engine.batches == [1]

    asyncio.run(asyncio.wait_for(play(), 60))


def test_a_caller_that_hangs_up_leaves_the_queue(service, png):
    head = f"POST {PATH} HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\nContent-Length: {len(png)}\r\n\r\n"
    engine = service.engines[0]
    engine.gate.clear()
    with ThreadPoolExecutor(1) as callers:
        first = callers.submit(service.certify, png)
        assert engine.entered.wait(30)
        with socket.create_connection(("127.0.0.1", service.port)) as connection:
            connection.sendall(head.encode() + png)
        while not service.metric("goodcert_requests_total", model="tiny", code="499"):
            service.client.get("/health/live")
        engine.gate.set()
        assert first.result(30).status_code == 200
    assert service.certify(png).status_code == 200
    assert engine.batches == [1, 1]
