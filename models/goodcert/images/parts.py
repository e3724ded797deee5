"""How many parts an image file is made of, counted before a decoder walks through them.

Pillow walks through chunks and segments in Python and decodes run-length BMPs there, and a JPEG may have any
number of scans, each a walk over the whole image: files of 100 KB would take minutes.
"""

# Encoders make chunks of 8 KiB and more, at most a few hundred segments, and ten scans; what is above is for
# previews in the metadata and for chance.
MOST_CHUNKS = 10_000
MOST_SEGMENTS = 1_000
MOST_SCANS = 50

_PNG = b"\x89PNG\r\n\x1a\n"
_JPEG = b"\xff\xd8"
_BMP = b"BM"
_SCAN = b"\xff\xda"
# Of a JPEG: markers that stand alone, without a length.
_ALONE = frozenset({0x01, *range(0xD0, 0xDA)})
_RUN_LENGTHS = frozenset({1, 2})


def too_many(data: bytes) -> bool:
    """Whether the file has more parts than an honest one, or parts that take too long."""
    if data.startswith(_PNG):
        return _chunks(data) > MOST_CHUNKS
    if data.startswith(_JPEG):
        return data.count(_SCAN) > MOST_SCANS or _segments(data) > MOST_SEGMENTS
    return data.startswith(_BMP) and _bmp_compression(data) in _RUN_LENGTHS


def _chunks(data: bytes) -> int:
    """Of a PNG, up to its end or one more than the most."""
    place, count = len(_PNG), 0
    while place + 8 <= len(data) and count <= MOST_CHUNKS and data[place + 4 : place + 8] != b"IEND":
        place += 12 + int.from_bytes(data[place : place + 4])
        count += 1
    return count


def _segments(data: bytes) -> int:
    """Of a JPEG, up to its first scan or one more than the most; bytes between segments count as much."""
    place, count = len(_JPEG), 0
    while place + 4 <= len(data) and count <= MOST_SEGMENTS:
        count += 1
        marker = data[place + 1]
        if data[place] != 0xFF or marker in (0x00, 0xFF):
            place += 1
        elif marker == _SCAN[1]:
            break
        elif marker in _ALONE:
            place += 2
        else:
            place += 2 + max(2, int.from_bytes(data[place + 2 : place + 4]))
    return count


def _bmp_compression(data: bytes) -> int:
    header = int.from_bytes(data[14:18], "little")
    return int.from_bytes(data[30:34], "little") if header >= 40 else 0
