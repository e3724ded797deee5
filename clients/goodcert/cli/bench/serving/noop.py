"""The cheapest ASGI application there is, under the same server: what HTTP alone costs. `python -m ... PORT`."""

import sys

import uvicorn
from starlette.types import Receive, Scope, Send


async def app(scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG001  the signature is ASGI's
    while (await receive()).get("more_body"):
        pass
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"{}"})


if __name__ == "__main__":
    uvicorn.run(
        app, port=int(sys.argv[1]), lifespan="off", access_log=False, server_header=False, log_level="error"
    )
