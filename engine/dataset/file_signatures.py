"""Looks at a picture file's first and last bytes: what it really is, and whether it was cut off."""

import struct
from collections.abc import Iterator

from PIL import Image

from engine.dataset.sources import Stretch

_TAIL = 4096
_MAX_BOXES = 10_000
_MAX_CHUNKS = 100_000  # a 64 Mpx PNG in libpng's 8 kB pieces has about 24,000
_ISO_BRANDS = {
    b"heic": "a HEIC picture",
    b"heix": "a HEIC picture",
    b"hevc": "a HEIC picture",
    b"heim": "a HEIC picture",
    b"mif1": "a HEIF picture",
    b"msf1": "a HEIF picture",
    b"avif": "an AVIF picture",
    b"avis": "an animated AVIF",
    b"crx ": "a raw photograph",
}
_STARTS = (
    (b"\xff\x0a", "a JPEG XL picture"),
    (b"\x00\x00\x00\x0cJXL ", "a JPEG XL picture"),
    (b"\x1aE\xdf\xa3", "a video"),
    (b"8BPS", "a Photoshop file"),
    (b"%PDF", "a PDF"),
    (b"PK\x03\x04", "a ZIP archive"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"<svg", "an SVG drawing"),
    (b"<?xml", "an SVG drawing or other XML"),
    (b"<", "a web page"),
)


def what_is(start: bytes) -> str:
    """What a file that is no supported picture is, judged by its first 64 bytes; "" where nobody knows."""
    if not start:
        return "an empty file"
    if start[4:8] == b"ftyp":
        return _ISO_BRANDS.get(start[8:12], "a video")
    if start[:4] == b"RIFF" and start[8:12] == b"AVI ":
        return "a video"
    text = start.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    for prefix, kind in _STARTS:
        if start.startswith(prefix) or text.startswith(prefix.lower()):
            return kind
    return ""


def looks_whole(file: Stretch, image: Image.Image) -> bool:
    """Whether the file ends as its format says; False means "decode it to be sure", not "broken".

    Costs a few small reads, so that a scan finds cut-off downloads without decoding anything.
    """
    size = file.size
    match image.format:
        case "PNG":
            return any(kind == b"IEND" and end <= size for kind, _, end in _png_chunks(file))
        case "JPEG" | "MPO":
            # In compressed data 0xFF is always followed by 0x00 or a restart marker, so this is an end.
            return b"\xff\xd9" in file.pread(_TAIL, max(0, size - _TAIL))
        case "WEBP":
            return int.from_bytes(file.pread(4, 4), "little") + 8 <= size
        case "GIF":
            return file.pread(_TAIL, max(0, size - _TAIL)).rstrip(b"\x00").endswith(b";")
        case "BMP":
            rows = (image.width * {"1": 1, "L": 8, "P": 1}.get(image.mode, 16) + 31) // 32 * 4
            stated = int.from_bytes(file.pread(4, 2), "little")
            return rows * image.height <= size and stated <= size
        case "TIFF":
            return all(end <= size for end in _tiff_ends(image))
        case "AVIF" | "HEIF":
            return _boxes_end(file) == size
    return False


def _boxes_end(file: Stretch) -> int:
    """Where the last of an ISO file's boxes ends; a box that reaches to the end says so with length 0."""
    at = 0
    for _ in range(_MAX_BOXES):
        head = file.pread(16, at)
        if len(head) < 8:
            return at
        length = int.from_bytes(head[:4], "big")
        if length == 1 and len(head) == 16:
            length = int.from_bytes(head[8:16], "big")
        if length == 0:
            return file.size
        if length < 8:
            return -1
        at += length
    return -1


def png_orientation(file: Stretch) -> int:
    """The orientation in a PNG's eXIf chunk, before or after the pixels; 1 where there is none.

    Pillow would decode the whole picture to find a chunk that follows the pixels.
    """
    for kind, start, end in _png_chunks(file):
        if kind == b"eXIf":
            exif = Image.Exif()
            exif.load(file.pread(min(end - 4 - start, 1 << 20), start))
            value = exif.get(0x0112, 1)
            return value if isinstance(value, int) else 1
    return 1


def _png_chunks(file: Stretch) -> Iterator[tuple[bytes, int, int]]:
    """Each chunk's type, its data's offset, and the offset behind its checksum; stops at the end or a gap."""
    at = 8
    for _ in range(_MAX_CHUNKS):
        head = file.pread(8, at)
        if len(head) < 8:
            return
        length, kind = struct.unpack(">I4s", head)
        yield kind, at + 8, at + 12 + length
        if kind == b"IEND":
            return
        at += 12 + length


def _tiff_ends(image: Image.Image) -> list[int]:
    tags = getattr(image, "tag_v2", {})
    for offsets, counts in ((273, 279), (324, 325)):
        if offsets in tags and counts in tags:
            return [start + count for start, count in zip(tags[offsets], tags[counts], strict=False)]
    return [1 << 62]
