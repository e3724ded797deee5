"""Connections go to the addresses that were given, in their order, and no more is read than was allowed."""

import asyncio

import httpcore
import pytest

from goodcert.serve.events.address_pinning import PinnedBackend, ReadBudget
from serve.events.conftest import Speaker


def connected(addresses, port, use, budget=100):
    """What `use` makes of a connection to one of the addresses."""

    async def run():
        backend = PinnedBackend(addresses, ReadBudget(budget))
        try:
            return await use(await backend.connect_tcp("localhost", port))
        finally:
            await backend.aclose()

    return asyncio.run(run())


async def address(stream):
    return stream.get_extra_info("server_addr")[0]


async def everything(stream):
    await stream.write(b"speak")
    pieces = []
    while piece := await stream.read(2**16):
        pieces.append(piece)
    return b"".join(pieces)


def test_it_connects_to_the_address_whatever_the_name():
    with Speaker(b"") as speaker:
        assert connected(["127.0.0.1"], speaker.port, address) == "127.0.0.1"
        with pytest.raises(httpcore.ConnectError):
            connected(["127.0.0.9"], speaker.port, address)


def test_the_addresses_are_tried_in_their_order():
    with Speaker(b"") as speaker:
        assert connected(["127.0.0.8", "127.0.0.9", "127.0.0.1"], speaker.port, address) == "127.0.0.1"


def test_without_an_address_nothing_is_connected_to():
    with Speaker(b"") as speaker, pytest.raises(httpcore.ConnectError):
        connected([], speaker.port, address)


def test_no_more_is_read_than_the_budget_has():
    with Speaker(b"x" * 101) as speaker, pytest.raises(httpcore.ReadError):
        connected(["127.0.0.1"], speaker.port, everything)
