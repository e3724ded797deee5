"""What stands before everything that HTTP asks: a request is admitted, metered, and answered whatever happens.

Pure ASGI: the framework would read a form before any dependency of a route runs, so that strangers could upload.
Whatever goes wrong unforeseen behind here becomes a problem document and a line in the log; so does, without the
line, to be cut off before the answer. Its id is in every answer.
"""

import asyncio

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from goodcert.images.errors import CodedError
from goodcert.serve.admission.admission import ID_HEADER, Admission
from goodcert.serve.core.lifecycle import LifecyclePhase
from goodcert.serve.http.problems import Answers

_CLOSE = (b"connection", b"close")


class RequestMiddleware:
    """ASGI middleware, the outermost."""

    def __init__(self, app: ASGIApp, admission: Admission, answers: Answers) -> None:
        self._app = app
        self._admission = admission
        self._answers = answers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        with self._admission.visit(scope["method"], scope["path"], scope["headers"]) as visit:

            async def metered() -> Message:
                message = await receive()
                visit.take(len(message.get("body", b"")))
                return message

            async def named(message: Message) -> None:
                if message["type"] == "http.response.start":
                    visit.status = message["status"]
                    stopping = self._admission.lifecycle.phase is not LifecyclePhase.SERVING
                    ours = [(ID_HEADER, visit.id), _CLOSE] if stopping else [(ID_HEADER, visit.id)]
                    message["headers"] = [*message.get("headers", ()), *ours]
                await send(message)

            async def refuse(error: Exception) -> None:
                if not visit.status:
                    await self._answers.response(error, scope["path"])(scope, receive, named)

            try:
                visit.admit()
                await self._app(scope, metered, named)
            except asyncio.CancelledError:
                await refuse(visit.cut_off())
                raise
            except Exception as error:  # noqa: BLE001  whatever it is, the caller must be answered
                if not isinstance(error, CodedError | HTTPException):
                    visit.fail(error)
                await refuse(error)
