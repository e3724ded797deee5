"""From the body of a form to the images in it."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from goodcert.serve.core.errors import MalformedMultipart, NoImages, UnknownPart

if TYPE_CHECKING:  # exists for type checkers only
    from python_multipart.multipart import MultipartCallbacks

FORM = "multipart/form-data"
PART = "images"


def images_of(body: bytes, content_type: str) -> list[bytes]:
    """The parts named `images` of a form, in order.

    Raises MalformedMultipart, UnknownPart for any other part, NoImages if there is none.
    """
    boundary = parse_options_header(content_type)[1].get(b"boundary")
    if not boundary:
        raise MalformedMultipart("no boundary")
    form = _Form()
    try:
        MultipartParser(boundary, form.callbacks()).write(body)
    except FormParserError as error:
        raise MalformedMultipart from error
    if not form.complete:
        raise MalformedMultipart("the closing boundary is missing")
    if not form.parts:
        raise NoImages
    return [bytes(part) for part in form.parts]


@dataclass
class _Form:
    """Collects the parts as the parser meets them."""

    parts: list[bytearray] = field(default_factory=list)
    complete: bool = False
    _name: bytearray = field(default_factory=bytearray)
    _value: bytearray = field(default_factory=bytearray)
    _disposition: bytes = b""

    def callbacks(self) -> "MultipartCallbacks":
        return {
            "on_part_begin": self._begin,
            "on_header_field": lambda data, start, end: self._name.extend(data[start:end]),
            "on_header_value": lambda data, start, end: self._value.extend(data[start:end]),
            "on_header_end": self._header,
            "on_headers_finished": self._headers,
            "on_part_data": lambda data, start, end: self.parts[-1].extend(data[start:end]),
            "on_end": self._end,
        }

    def _begin(self) -> None:
        self.parts.append(bytearray())
        self._disposition = b""

    def _header(self) -> None:
        if self._name.lower() == b"content-disposition":
            self._disposition = bytes(self._value)
        self._name.clear()
        self._value.clear()

    def _headers(self) -> None:
        name = parse_options_header(self._disposition)[1].get(b"name")
        if name != PART.encode():
            raise UnknownPart(repr(name))

    def _end(self) -> None:
        self.complete = True
