"""Hostile pictures, through the dataset doctor with and without decoding, and through a run."""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Callable, Iterator
from contextlib import chdir
from functools import cache
from io import BytesIO
from pathlib import Path

from PIL import Image, ImageCms

from tests.hostile.case import EITHER, ESCAPE, FINE, PLAN, REFUSED, Box, Hostile, always, png

Content = bytes | Callable[[], bytes]


def _saved(kind: str, mode: str = "RGB", side: int = 64, colour: float = 0, **options: object) -> bytes:
    out = BytesIO()
    Image.new(mode, (side, side), colour).save(out, kind, **options)
    return out.getvalue()


def _chunk(name: bytes, data: bytes, checksum: int | None = None) -> bytes:
    right = zlib.crc32(name + data)
    return (
        struct.pack(">I", len(data))
        + name
        + data
        + struct.pack(">I", right if checksum is None else checksum)
    )


def _png(width: int, height: int, data: bytes, *more: bytes, depth: int = 8, colour: int = 2) -> bytes:
    head = _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    body = b"".join(more) + _chunk(b"IDAT", data) + _chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + head + body


def _rows(width: int, height: int) -> bytes:
    return zlib.compress((b"\0" + bytes(3 * width)) * height, 9)


def _bomb(width: int, height: int) -> bytes:
    """A picture of one colour, a thousandth of its pixels on the disk."""
    squeeze = zlib.compressobj(9)
    row = b"\0" + bytes(3 * width)
    parts = [squeeze.compress(row) for _ in range(height)]
    return _png(width, height, b"".join(parts) + squeeze.flush())


def _animated(kind: str) -> bytes:
    out = BytesIO()
    frames = [Image.new("RGB", (64, 64), (number * 40, 0, 0)) for number in range(4)]
    frames[0].save(out, kind, save_all=True, append_images=frames[1:])
    return out.getvalue()


def _exif(value: bytes) -> bytes:
    return _saved("JPEG", exif=value)


def _exif_loop() -> bytes:
    """A directory of tags that names itself as the next one."""
    entry = struct.pack("<HHII", 0x0112, 3, 1, 6)
    return _exif(b"Exif\0\0II*\0\x08\0\0\0" + struct.pack("<H", 1) + entry + struct.pack("<I", 8))


def _tiff_loop() -> bytes:
    sound = bytearray(_saved("TIFF"))
    (first,) = struct.unpack_from("<I", sound, 4)
    (count,) = struct.unpack_from("<H", sound, first)
    struct.pack_into("<I", sound, first + 2 + 12 * count, first)
    return bytes(sound)


@cache
def _profile() -> bytes:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


# What it is, its bytes, and a pattern of what is said about it. All lie beside two sound pictures.
PICTURES: dict[str, tuple[str, Content, str]] = {
    "nothing at all": ("a.png", b"", ""),
    "one byte": ("a.png", b"\x89", ""),
    "a signature alone": ("a.png", b"\x89PNG\r\n\x1a\n", ""),
    "a PNG cut in its header": ("a.png", png()[:20], ""),
    "a PNG cut in its pixels": ("a.png", _saved("PNG", side=64)[:-30], ""),
    "a PNG without its end": ("a.png", png()[:-12], ""),
    "a PNG of no width": ("a.png", _png(0, 64, b""), ""),
    "a PNG of 2 ** 31 pixels a side": ("a.png", _png(2**31 - 1, 2**31 - 1, b""), ""),
    "a PNG of over 2 ** 31 pixels a side": ("a.png", _png(2**32 - 1, 2**32 - 1, b""), ""),
    "a PNG that says 60,000 a side": ("a.png", _png(60_000, 60_000, _rows(1, 1)), "pixel"),
    "a PNG of too few rows": ("a.png", _png(64, 64, _rows(64, 8)), ""),
    "a PNG of too many rows": ("a.png", _png(64, 64, _rows(64, 800)), ""),
    "a PNG of rubbish pixels": ("a.png", _png(64, 64, b"rubbish"), ""),
    "a PNG of a wrong checksum": ("a.png", png()[:29] + b"abcd" + png()[33:], ""),
    "a PNG whose chunk says 2 ** 31 bytes": ("a.png", png()[:33] + struct.pack(">I", 2**31 - 1) + png()[37:], ""),
    "a PNG with a text bomb": ("a.png", lambda: _png(64, 64, _rows(64, 64), _chunk(b"zTXt", b"k\0\0" + zlib.compress(bytes(200 << 20), 9))), ""),
    "a PNG with a profile bomb": ("a.png", lambda: _png(64, 64, _rows(64, 64), _chunk(b"iCCP", b"k\0\0" + zlib.compress(bytes(200 << 20), 9))), ""),
    "a PNG of an impossible depth": ("a.png", _png(64, 64, _rows(64, 64), depth=7), ""),
    "a PNG of an unknown colour": ("a.png", _png(64, 64, _rows(64, 64), colour=5), ""),
    "a PNG with a palette that lacks": ("a.png", _png(64, 64, zlib.compress((b"\0" + bytes([200]) * 64) * 64), colour=3), ""),
    "a bomb of 60 million pixels": ("a.png", lambda: _bomb(7500, 8000), ""),
    "a bomb of 80 million pixels": ("a.png", lambda: _bomb(8000, 10_000), ""),
    "a bomb of 170 million pixels": ("a.png", lambda: _bomb(13_000, 13_000), ""),
    "an animated PNG": ("a.png", lambda: _animated("PNG"), "animated"),
    "an animated GIF": ("a.gif", lambda: _animated("GIF"), "animated"),
    "an animated WebP": ("a.webp", lambda: _animated("WEBP"), "animated"),
    "a TIFF of pages": ("a.tif", lambda: _animated("TIFF"), ""),
    "a TIFF that names itself as its next page": ("a.tif", _tiff_loop, ""),
    "a TIFF cut": ("a.tif", lambda: _saved("TIFF")[:100], ""),
    "a TIFF cut in its pixels": ("a.tif", lambda: _saved("TIFF", compression="tiff_lzw")[:-60], ""),
    "a TIFF of floats": ("a.tif", lambda: _saved("TIFF", "F", colour=1.0), "pixels of the kind F"),
    "a TIFF of 32 bits": ("a.tif", lambda: _saved("TIFF", "I", colour=1), "pixels of the kind I"),
    "a TIFF in CMYK": ("a.tif", lambda: _saved("TIFF", "CMYK"), ""),
    "a TIFF in LAB": ("a.tif", lambda: _saved("TIFF", "LAB"), "LAB"),
    "a TIFF of a file that goes on for ever": ("a.tif", b"II*\0" + struct.pack("<I", 2**32 - 1), ""),
    "a JPEG cut": ("a.jpg", lambda: _saved("JPEG", side=256)[:-200], "cut|end"),
    "a JPEG cut in its header": ("a.jpg", lambda: _saved("JPEG")[:30], ""),
    "a JPEG of rubbish after its header": ("a.jpg", lambda: _saved("JPEG")[:400] + bytes(500), ""),
    "a JPEG that says 65,535 a side": ("a.jpg", lambda: _huge_jpeg(), ""),
    "a JPEG in CMYK": ("a.jpg", lambda: _saved("JPEG", "CMYK"), ""),
    "a JPEG with a torn EXIF": ("a.jpg", lambda: _exif(b"Exif\0\0II*\0\xff\xff\xff\xff"), ""),
    "a JPEG whose EXIF turns in a circle": ("a.jpg", _exif_loop, ""),
    "a JPEG with an EXIF of escapes": ("a.jpg", lambda: _exif(b"Exif\0\0" + ESCAPE.encode()), ""),
    "a JPEG with a comment of escapes": ("a.jpg", lambda: _saved("JPEG", comment=ESCAPE.encode()), ""),
    "a JPEG with a torn profile": ("a.jpg", lambda: _saved("JPEG", icc_profile=_profile()[:100]), ""),
    "a JPEG with a profile of rubbish": ("a.jpg", lambda: _saved("JPEG", icc_profile=b"\xff" * 60_000), ""),
    "a WebP cut": ("a.webp", lambda: _saved("WEBP")[:-4], ""),
    "a WebP that says it is larger": ("a.webp", lambda: b"RIFF\xff\xff\xff\x7f" + _saved("WEBP")[8:], ""),
    "a GIF of no colours": ("a.gif", b"GIF89a\x40\0\x40\0\0\0\0;", ""),
    "a GIF that never ends": ("a.gif", lambda: _saved("GIF")[:-1], ""),
    "a GIF of 65,535 a side": ("a.gif", b"GIF89a\xff\xff\xff\xff\0\0\0,\0\0\0\0\xff\xff\xff\xff\0\x02\x02D\x01\0;", ""),
    "a BMP with a size below zero": ("a.bmp", lambda: _bmp(-64, -64), ""),
    "a BMP of 2 ** 31 a side": ("a.bmp", lambda: _bmp(2**31 - 1, 2**31 - 1), ""),
    "a JPEG called PNG": ("a.png", lambda: _saved("JPEG"), ""),
    "a web page called JPEG": ("a.jpg", b"<html>404</html>", "web page|HTML"),
    "a script called PNG": ("a.png", b"#!/bin/sh\ntouch ran\n", ""),
    "a zip called PNG": ("a.png", b"PK\x03\x04" + bytes(100), ""),
    "a PostScript file called PNG": ("a.png", b"%!PS-Adobe-3.0\n(ran) (w) file closefile\n", ""),
    "an SVG with an entity bomb": ("a.svg", b'<!DOCTYPE x [<!ENTITY a "aaaa">]><svg>&a;</svg>', ""),
    "an SVG called PNG": ("a.png", b'<svg xmlns="http://www.w3.org/2000/svg" width="9"/>', ""),
    "a PSD": ("a.psd", b"8BPS\0\x01" + bytes(100), ""),
    "a PSD called PNG": ("a.png", b"8BPS\0\x01" + bytes(100), ""),
    "a FITS bomb called PNG": ("a.png", b"SIMPLE  =                    T" + b" " * 2850, ""),
    "a pickle called PNG": ("a.png", b"\x80\x04cos\nsystem\n(S'touch ran'\ntR.", ""),
    "one bit a pixel": ("a.png", lambda: _saved("PNG", "1"), ""),
    "a palette": ("a.png", lambda: _saved("PNG", "P"), ""),
    "a palette with clear colours": ("a.png", lambda: _saved("PNG", "P", transparency=0), ""),
    "grey and clear": ("a.png", lambda: _saved("PNG", "LA"), ""),
    "16 bits": ("a.png", lambda: _saved("PNG", "I;16"), ""),
    "one pixel": ("a.png", lambda: _saved("PNG", side=1), ""),
    "one pixel high and 20,000 wide": ("a.png", lambda: _png(20_000, 1, _rows(20_000, 1)), ""),
}  # fmt: skip


def _huge_jpeg() -> bytes:
    sound = bytearray(_saved("JPEG"))
    at = sound.index(b"\xff\xc0")
    sound[at + 5 : at + 9] = b"\xff\xff\xff\xff"
    return bytes(sound)


def _bmp(width: int, height: int) -> bytes:
    head = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 24, 0, 0, 0, 0, 0, 0)
    return b"BM" + struct.pack("<IHHI", 54 + 300, 0, 0, 54) + head + bytes(300)


NAMES: dict[str, str] = {
    "escapes": ESCAPE.replace("/", "") + ".png",
    "a line feed": "a\nerror: b\nfix: c.png",
    "no UTF-8": os.fsdecode(b"caf\xe9.png"),
    "turned": "\u202egnp.exe.png",
    "a dash": "--help.png",
    "a star": "*.png",
    "nothing but an ending": ".png",
    "255 bytes": "a" * 251 + ".png",
    "a quote": "';rm -rf ~;'.png",
    "a colon": "C:\\Windows\\x.png",
    "a percent": "%s%n%x{0}.png",
    "markup": "[bold red]x[].png",
}


def _shown(name: str, content: Content, deep: bool, more: str = "") -> Callable[[Box], list[str]]:
    def make(box: Box) -> list[str]:
        folder = box.pictures()
        (folder / name).write_bytes(content() if callable(content) else content)
        return [
            "data",
            str(folder),
            "--resolution",
            "64",
            *(["--deep"] if deep else []),
            *filter(None, [more]),
        ]

    return make


def _kinds() -> Iterator[Hostile]:  # noqa: C901 (one small function a row)
    """What is no plain picture in a folder of pictures."""

    def uncaptioned(box: Box) -> Path:
        text = box.pictures() / "p0.txt"
        text.unlink()
        return text

    def fifo(box: Box) -> None:
        os.mkfifo(box.pictures() / "a.png")

    def device(box: Box) -> None:
        (box.pictures() / "a.png").symlink_to("/dev/zero")

    def loop(box: Box) -> None:
        (box.pictures() / "a.png").symlink_to("a.png")

    def folder(box: Box) -> None:
        (box.pictures() / "a.png").mkdir()

    def folder_loop(box: Box) -> None:
        (box.pictures() / "again").symlink_to(".")

    def outside(box: Box) -> None:
        (box.outside / "a.png").write_bytes(png())
        (box.pictures() / "a.png").symlink_to(box.outside / "a.png")

    def outside_folder(box: Box) -> None:
        (box.pictures() / "all").symlink_to("/")

    def dangling(box: Box) -> None:
        (box.pictures() / "a.png").symlink_to("nowhere.png")

    def caption_fifo(box: Box) -> None:
        os.mkfifo(uncaptioned(box))

    def caption_device(box: Box) -> None:
        uncaptioned(box).symlink_to("/dev/zero")

    def caption_folder(box: Box) -> None:
        uncaptioned(box).mkdir()

    def caption_outside(box: Box) -> None:
        uncaptioned(box).symlink_to("/etc/passwd")

    def deep(box: Box) -> None:
        with chdir(box.pictures()):
            for _ in range(600):
                os.mkdir("aaaaaaa")  # noqa: PTH102 (a path from the top would be too long)
                os.chdir("aaaaaaa")

    def socket(box: Box) -> None:
        os.mknod(box.pictures() / "a.png", 0o140600)

    def sparse(box: Box) -> None:
        with (box.pictures() / "a.png").open("wb") as file:
            file.write(png())
            file.truncate(1 << 40)

    def table_fifo(box: Box) -> None:
        os.mkfifo(box.pictures() / "metadata.jsonl")

    def table_device(box: Box) -> None:
        (box.pictures() / "metadata.csv").symlink_to("/dev/zero")

    kinds: tuple[Callable[[Box], None], ...] = (
        fifo,
        device,
        loop,
        folder,
        folder_loop,
        outside,
        outside_folder,
    )
    kinds += (dangling, caption_fifo, caption_device, caption_folder, caption_outside, deep, socket, sparse)
    kinds += (table_fifo, table_device)
    for kind in kinds:

        def make(box: Box, kind: Callable[[Box], None] = kind) -> list[str]:
            kind(box)
            return ["data", str(box.input / "pictures"), "--resolution", "64"]

        yield Hostile(f"picture folder with {kind.__name__}", make, EITHER)


def cases() -> Iterator[Hostile]:
    """All cases of pictures."""
    for at, (title, (name, content, says)) in enumerate(PICTURES.items()):
        yield Hostile(
            f"picture: {title}", _shown(name, content, at % 2 == 0 or "bomb" in title), EITHER, says
        )
    for title, name in NAMES.items():
        for more in ("", "--json"):
            yield Hostile(f"picture named {title} {more}", _shown(name, png(), False, more), EITHER)
    yield from _kinds()
    for title, where in {"a device": "/dev/zero", "the processes": "/proc/self/fd", "nothing": ""}.items():
        yield Hostile(f"pictures at {title}", always("data", where), REFUSED)
    yield Hostile(
        "pictures: the doctor on a sound folder",
        lambda box: ["data", str(box.pictures()), "--resolution", "64"],
        FINE,
    )
    yield Hostile(
        "pictures: a plan on a folder of none", lambda box: ["check", box.plan(PLAN, path="'.'")], EITHER
    )
