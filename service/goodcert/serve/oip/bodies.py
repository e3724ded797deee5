"""Bodies as HTTP carries them: inflated within a limit, deflated for those who ask."""

import zlib
from contextlib import suppress
from functools import partial

from goodcert.serve.batching import threads
from goodcert.serve.batching.threads import INLINE_BYTES
from goodcert.serve.core.errors import BodyBroken, BodyTooLarge, EncodingRefused

# zlib's windows: 15 for the zlib form, which HTTP calls deflate, and 16 more for gzip.
_WINDOWS = {"gzip": 31, "deflate": 15}
_FAST = 1


async def inflate(body: bytes, encoding: str, most_bytes: int, deadline: float) -> bytes:
    """The body without its Content-Encoding; no more than one byte past `most_bytes` is ever unfolded.

    In a thread where there is much of it, before or after. Raises EncodingRefused, BodyBroken, BodyTooLarge or
    DeadlineExceeded.
    """
    name = encoding.strip().lower()
    if name in ("", "identity"):
        return body
    if name not in _WINDOWS:
        raise EncodingRefused
    if len(body) <= INLINE_BYTES:
        with suppress(BodyTooLarge):  # what it unfolds to is known afterwards only
            return _inflate(body, _WINDOWS[name], min(INLINE_BYTES, most_bytes))
    return await threads.run(partial(_inflate, body, _WINDOWS[name], most_bytes), deadline)


def _inflate(body: bytes, window: int, most_bytes: int) -> bytes:
    machine = zlib.decompressobj(window)
    try:
        inflated = machine.decompress(body, most_bytes + 1)
    except zlib.error as error:
        raise BodyBroken from error
    if len(inflated) > most_bytes:
        raise BodyTooLarge
    if not machine.eof or machine.unused_data:
        raise BodyBroken
    return inflated


def deflate(body: bytes, accepted: str) -> tuple[bytes, str | None]:
    """The body in the first coding of ours that Accept-Encoding names, and its name; else as it is, and None."""
    wanted = [part.partition(";") for part in accepted.lower().split(",")]
    names = {name.strip() for name, _, weight in wanted if weight.replace(" ", "") not in ("q=0", "q=0.0")}
    chosen = next((name for name in _WINDOWS if name in names), None)
    if chosen is None:
        return body, None
    machine = zlib.compressobj(_FAST, wbits=_WINDOWS[chosen])
    return machine.compress(body) + machine.flush(), chosen
