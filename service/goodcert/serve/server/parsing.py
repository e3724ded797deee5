"""Requests are read as HTTP/1.1 and nothing else: an offer to speak another protocol is not heard.

A server that does not want to change the protocol goes on as if the request had no `Upgrade` (RFC 9110, 7.8).
llhttp believes it instead: to it the request ends with its headers, and what follows, the body, is of the other
protocol, or another request. So it is told the head once more, as it understood it, without `Upgrade`, and then
what follows: framing is found by the same rules as in any other request.
"""

from typing import Protocol

from httptools import HttpParserUpgrade, HttpRequestParser


class ParserEvents(Protocol):
    """What is called back, see httptools. url, headers: of the request that is being read, names in small letters.

    `on_headers_complete` and `on_message_complete` are called once more for a request that offers another
    protocol, while `RequestParser.should_upgrade()` is true, and ignore that.
    """

    url: bytes
    headers: list[tuple[bytes, bytes]]


class RequestParser(HttpRequestParser):
    """httptools' parser, without `HttpParserUpgrade`."""

    def __init__(self, reader: ParserEvents) -> None:
        self._reader = reader
        self._begin()

    def _begin(self) -> None:
        """As if no byte had come."""
        super().__init__(self._reader)
        # As uvicorn has it: a request that closes the connection is answered whatever comes after it.
        self.set_dangerous_leniencies(lenient_data_after_close=True)

    def feed_data(self, data: bytes) -> None:  # type: ignore[override]  # what transports give
        """Bytes as they come from the socket, any number. Raises httptools.HttpParserError."""
        while True:
            try:
                super().feed_data(data)
            except HttpParserUpgrade as offer:
                data = self._head() + data[offer.args[0] :]
                self._begin()
            else:
                return

    def _head(self) -> bytes:
        headers = [name + b": " + value for name, value in self._reader.headers if name != b"upgrade"]
        first = b"%s %s HTTP/%s" % (self.get_method(), self._reader.url, self.get_http_version().encode())
        return b"\r\n".join([first, *headers, b"", b""])
