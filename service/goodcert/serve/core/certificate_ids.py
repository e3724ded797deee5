"""The ids of certificates: UUIDs of version 7, unique and sortable by time."""

import os
import time

_VERSION, _VARIANT = 0x7 << 76, 0b10 << 62


def new() -> str:
    """A UUID of version 7 (RFC 9562, section 5.7) as 32 hexadecimal digits.

    48 bits of Unix time in milliseconds, 74 random bits. An index of such ids grows at its end, where those of
    random ids, once it is large, cost a page to read and one to write for each certificate.
    """
    milliseconds, random = time.time_ns() // 1_000_000, int.from_bytes(os.urandom(10))
    bits = random & ~(0xF << 76) & ~(0b11 << 62)
    return f"{milliseconds << 80 | _VERSION | _VARIANT | bits:032x}"
