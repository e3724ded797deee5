"""Uploads that mean harm, thousands from a few lines: every family yields (name, bytes), the same in every run."""

import io
import struct
import zlib
from collections.abc import Callable, Iterator
from itertools import permutations, product

import numpy as np
from PIL import Image

Hostile = Iterator[tuple[str, bytes]]

WIDTH, HEIGHT = 6, 4
SIGNATURE = b"\x89PNG\r\n\x1a\n"
FLIPS = 25


def encode(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(width=WIDTH, height=HEIGHT, depth=8, colour=0, interlace=0, data=None, before=b"", after=b"") -> bytes:
    """A PNG put together by hand, with right check sums whatever it says."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlace)
    data = zlib.compress(bytes((WIDTH + 1) * HEIGHT)) if data is None else data
    ends = chunk(b"IDAT", data) + after + chunk(b"IEND", b"")
    return SIGNATURE + chunk(b"IHDR", header) + before + ends


def picture(mode: str) -> Image.Image:
    colour = np.random.default_rng(11).integers(0, 256, (HEIGHT, WIDTH, 4), dtype=np.uint8)
    if mode == "I;16":
        return Image.fromarray(colour[..., 0].astype(np.uint16) * 257)
    return Image.fromarray(colour[..., :3]).convert(mode)


def seeds() -> dict[str, bytes]:
    """Good files of every allowed format in many of its ways."""
    made = {f"png {mode}": encode(picture(mode), "PNG") for mode in ("1", "L", "LA", "P", "RGB", "RGBA", "I;16")}
    made |= {f"jpeg {mode}": encode(picture(mode), "JPEG") for mode in ("L", "RGB", "CMYK")}
    made["jpeg progressive"] = encode(picture("RGB"), "JPEG", progressive=True)
    made["jpeg restarts"] = encode(picture("RGB"), "JPEG", restart_marker_blocks=1, subsampling=0)
    made |= {f"bmp {mode}": encode(picture(mode), "BMP") for mode in ("1", "L", "P", "RGB", "RGBA")}
    made["webp lossy"] = encode(picture("RGB"), "WEBP")
    made["webp lossless"] = encode(picture("RGB"), "WEBP", lossless=True)
    made["webp alpha"] = encode(picture("RGBA"), "WEBP", exif=b"Exif\0\0II*\0\x08\0\0\0\0\0")
    return made


def truncations() -> Hostile:
    for name, data in seeds().items():
        for length in range(0, len(data), max(1, len(data) // 25)):
            yield f"{name} cut at {length}", data[:length]


def flips() -> Hostile:
    random = np.random.default_rng(1)
    for name, data in seeds().items():
        for number in range(FLIPS):
            broken = np.frombuffer(data, np.uint8).copy()
            places = random.integers(len(data), size=1 + number % 4)
            broken[places] ^= (1 << random.integers(8, size=len(places))).astype(np.uint8)
            yield f"{name} flipped {number}", broken.tobytes()


def surgery() -> Hostile:
    """Pieces dropped, doubled, blanked and replaced by noise."""
    random = np.random.default_rng(2)
    for name, data in seeds().items():
        for number in range(FLIPS):
            start, end = sorted(random.integers(len(data) + 1, size=2).tolist())
            piece = data[start:end]
            put = (b"", piece * 2, bytes(len(piece)), random.bytes(len(piece)), b"\xff" * len(piece))[number % 5]
            yield f"{name} operated {number}", data[:start] + put + data[end:]


def resealed() -> Hostile:
    """PNGs whose compressed pixels are damaged and whose check sums are right."""
    random = np.random.default_rng(3)
    whole = zlib.compress(bytes((WIDTH + 1) * HEIGHT))
    for number in range(100):
        broken = bytearray(whole)
        broken[number % len(broken)] = random.integers(256)
        yield f"png resealed {number}", png(data=bytes(broken))
    for filtering in range(5, 256, 25):
        yield f"png filter {filtering}", png(data=zlib.compress(bytes([filtering, *range(WIDTH)]) * HEIGHT))
    for length in (0, 1, 3, 10**5):
        yield f"png with {length} bytes of pixels", png(data=zlib.compress(bytes(length)))


def lying_pngs() -> Hostile:
    sizes = (0, 1, 7, 65535, 2**31 - 1, 2**31, 2**32 - 1)
    for width, height in product(sizes, sizes):
        yield f"png of {width} x {height}", png(width, height)
    for depth, colour, interlace in product(
        (0, 1, 2, 3, 4, 8, 16, 32, 255), (0, 1, 2, 3, 4, 5, 6, 7, 255), (0, 1, 9)
    ):
        yield (
            f"png of depth {depth}, colour {colour}, interlace {interlace}",
            png(depth=depth, colour=colour, interlace=interlace),
        )
    for entries in (0, 1, 255, 257, 10_000):
        palette = chunk(b"PLTE", bytes(3 * entries))
        yield f"png with {entries} colours", png(colour=3, before=palette, data=zlib.compress(b"\xff" * 28))
        yield f"png with {entries} shades", png(colour=3, before=palette + chunk(b"tRNS", bytes(entries)))
    yield "png with a torn palette", png(colour=3, before=chunk(b"PLTE", bytes(4)))
    yield "png without its palette", png(colour=3)


def lying_jpegs() -> Hostile:
    data = encode(picture("RGB"), "JPEG")
    frame = data.index(b"\xff\xc0")
    for width, height in product((0, 1, 7, 4000, 65535), repeat=2):
        size = struct.pack(">HH", height, width)
        yield f"jpeg of {width} x {height}", data[: frame + 5] + size + data[frame + 9 :]
    for marker in range(0xC0, 0x100):
        yield f"jpeg with frame marker {marker:x}", data[: frame + 1] + bytes([marker]) + data[frame + 2 :]
    for components in (0, 1, 2, 4, 5, 255):
        yield f"jpeg of {components} components", data[: frame + 9] + bytes([components]) + data[frame + 10 :]
    for precision in (0, 1, 12, 16, 255):
        yield f"jpeg of {precision} bits", data[: frame + 4] + bytes([precision]) + data[frame + 5 :]
    for length in (0, 1, 2, 3, 65535):
        yield f"jpeg with a frame of {length}", data[: frame + 2] + struct.pack(">H", length) + data[frame + 4 :]


def lying_bmps() -> Hostile:
    data = encode(picture("RGB"), "BMP")
    fields = {"offset": (10, "<I"), "header": (14, "<I"), "width": (18, "<i"), "height": (22, "<i")}
    fields |= {"planes": (26, "<H"), "bits": (28, "<H"), "compression": (30, "<I"), "colours": (46, "<I")}
    values = (-(2**31), -HEIGHT, -1, 0, 1, 2, 3, 4, 5, 8, 12, 16, 24, 32, 40, 64, 108, 124, 65535, 2**31 - 1)
    for (name, (place, form)), value in product(fields.items(), values):
        bits = struct.pack("<i", value)[: struct.calcsize(form)]
        yield f"bmp with {name} {value}", data[:place] + bits + data[place + len(bits) :]


def lying_webps() -> Hostile:
    for name, data in seeds().items():
        if name.startswith("webp"):
            for place, value in product(range(4, 40), (0, 1, 0x7F, 0xFF)):
                yield f"{name} with {value} at {place}", data[:place] + bytes([value]) + data[place + 1 :]


def bombs() -> Hostile:
    """Little that unfolds into much; what is within the limits may be answered."""
    rows = zlib.compress(bytes(4001) * 4000, 9)
    yield "png of 16 megapixels", png(4000, 4000, data=rows)
    yield "png of one row too many", png(4000, 4001, data=rows)
    yield "png of 16 megapixels, pixels missing", png(4000, 4000)
    yield "png of 1 x 16 million", png(1, 16_000_000, data=zlib.compress(bytes(2 * 16_000_000), 9))
    yield "png whose pixels unfold far beyond its size", png(data=zlib.compress(bytes(10**8), 9))
    heavy = zlib.compress(bytes(10**8), 9)
    for kind, head in ((b"zTXt", b"a\0\0"), (b"iTXt", b"a\0\1\0\0\0"), (b"iCCP", b"a\0\0")):
        yield f"png with a bomb in {kind.decode()}", png(before=chunk(kind, head + heavy))
        yield f"png with a bomb in a late {kind.decode()}", png(after=chunk(kind, head + heavy))
    yield "png of 100000 chunks", png(before=chunk(b"tEXt", b"a\0b") * 100_000)
    yield "png of 100000 empty pieces", png(before=chunk(b"IDAT", b"") * 100_000)
    yield "png with a chunk of a megabyte", png(before=chunk(b"prVt", bytes(2**20)))
    yield "png with a chunk that says 2 GiB", png(before=struct.pack(">I", 2**31 - 1) + b"prVt")
    jpeg = encode(Image.new("RGB", (4000, 4000)), "JPEG", progressive=True, quality=1)
    yield "jpeg of 16 megapixels, progressive", jpeg
    yield "jpeg of 16 megapixels, in a thousand scans", _scans(jpeg, 1000)
    yield "jpeg with a megabyte of nothing", jpeg[:2] + b"\xff" * 2**20 + jpeg[2:]
    yield "jpeg with a megabyte of junk", jpeg[:2] + bytes(2**20) + jpeg[2:]
    yield "png 16384 wide", png(16_384, 1, data=zlib.compress(bytes(16_385)))
    yield "bmp of runs of one pixel", _runs(b"\1\7" * 10**6)
    yield "jpeg with 30000 comments", b"\xff\xd8" + b"\xff\xfe\0\4ab" * 30_000 + encode(picture("L"), "JPEG")[2:]
    yield (
        "webp of 16 megapixels",
        encode(Image.new("RGB", (4000, 4000)), "WEBP", lossless=True, quality=0, method=0),
    )
    yield "bmp of 16 megapixels", encode(Image.new("1", (4000, 4000)), "BMP")
    yield "bmp of jumps", _runs(b"\0\2\1\1" * 10_000)


def _scans(jpeg: bytes, times: int) -> bytes:
    """The last scan of a progressive JPEG again and again: each costs a walk over the whole image."""
    last = jpeg.rindex(b"\xff\xda")
    return jpeg[:-2] + jpeg[last:-2] * times + jpeg[-2:]


def _runs(code: bytes) -> bytes:
    """A BMP of 4000 x 4000 in run-length code."""
    header = struct.pack("<IiiHHIIiiII", 40, 4000, 4000, 1, 8, 1, 0, 0, 0, 256, 0)
    body = bytes(1024) + code + b"\0\1"
    return (
        b"BM" + struct.pack("<IHHI", 14 + len(header) + len(body), 0, 0, 14 + len(header) + 1024) + header + body
    )


def polyglots() -> Hostile:
    """Files that are two things at once."""
    other = {"zip": b"PK\x03\x04", "html": b"<script>alert(1)</script>", "pdf": b"%PDF-1.7\n", "gif": b"GIF89a"}
    other |= {"elf": b"\x7fELF", "tiff": b"II*\0\x08\0\0\0", "svg": b"<svg xmlns='http://www.w3.org/2000/svg'/>"}
    one_each = {name: data for name, data in seeds().items() if name.split()[1] in ("RGB", "lossy")}
    for (a, first), (b, second) in permutations((one_each | other).items(), 2):
        yield f"{a} before {b}", first + second
        yield f"{b} under the name of {a}", first[:12] + second[12:]
        yield f"{b} within {a}", first[: len(first) // 2] + second + first[len(first) // 2 :]


def frames() -> Hostile:
    """Several pictures in one file, and files that only say so."""
    pictures = [Image.new("RGB", (WIDTH, HEIGHT), (80 * i, 0, 0)) for i in range(3)]
    for kind in ("PNG", "WEBP", "MPO", "GIF"):
        yield f"three frames of {kind}", encode(pictures[0], kind, save_all=True, append_images=pictures[1:])
    for count in (0, 1, 2, 2**31 - 1, 2**32 - 1):
        control = chunk(b"acTL", struct.pack(">II", count, 0))
        yield f"png that says {count} frames", png(before=control)
        yield f"png that says {count} frames late", png(after=control)
        yield f"png that says {count} frames twice", png(before=control * 2)
    for cut in range(10, 200, 9):
        whole = encode(pictures[0], "MPO", save_all=True, append_images=pictures[1:])
        yield f"mpo cut by {cut}", whole[:-cut]


def metadata() -> Hostile:
    """EXIF, profiles and comments that mislead."""
    plain = {kind: encode(picture("RGB"), kind) for kind in ("PNG", "JPEG", "WEBP")}
    for orientation, kind in product(range(10), plain):
        exif = Image.Exif()
        exif[0x0112] = orientation
        yield f"{kind} turned by {orientation}", encode(picture("RGB"), kind, exif=exif)
    for size, kind in product((0, 1, 7, 60_000), plain):
        rest = bytes(size)
        yield (
            f"{kind} with {size} bytes of broken exif",
            encode(picture("RGB"), kind, exif=b"Exif\0\0II*\0" + rest),
        )
        yield f"{kind} with {size} bytes of profile", encode(picture("RGB"), kind, icc_profile=b"\x01" + rest)
    loop = b"Exif\0\0II*\0\x08\0\0\0" + struct.pack("<HHHIII", 1, 0x8769, 4, 1, 8, 8)
    yield "jpeg with exif that points at itself", encode(picture("RGB"), "JPEG", exif=loop)
    for name in (b"MPF\0", b"Adobe", b"JFIF\0", b"JFXX\0", b"ICC_PROFILE\0\1\2", b"Photoshop 3.0\0", b"FPXR\0"):
        for marker, size in product(range(0xE0, 0xF0), (0, 40)):
            part = name + bytes(size)
            segment = b"\xff" + bytes([marker]) + struct.pack(">H", 2 + len(part)) + part
            yield f"jpeg with {name!r} in {marker:x} of {size}", plain["JPEG"][:2] + segment + plain["JPEG"][2:]


def strangers() -> Hostile:
    """Formats that are not read, and no formats at all."""
    for kind in ("GIF", "TIFF", "ICO", "PPM", "TGA", "PCX", "EPS", "PDF", "JPEG2000", "DDS", "ICNS", "SGI", "MSP"):
        mode = {"MSP": "1", "PCX": "L"}.get(kind, "RGB")
        yield kind, encode(picture(mode).resize((16, 16)), kind)
    for magic in (SIGNATURE, b"\xff\xd8\xff", b"RIFF\xff\xff\xff\xffWEBP", b"BM", b"GIF89a", b"\0", b"<svg/>"):
        for size in (0, 1, 100, 10_000):
            yield f"{magic!r} and {size} zeros", magic + bytes(size)
            yield f"{magic!r} and {size} bytes of noise", magic + np.random.default_rng(size).bytes(size)


FAMILIES: dict[str, Callable[[], Hostile]] = {
    family.__name__: family
    for family in (
        truncations, flips, surgery, resealed, lying_pngs, lying_jpegs, lying_bmps, lying_webps, bombs, polyglots,
        frames, metadata, strangers,
    )
}  # fmt: skip
