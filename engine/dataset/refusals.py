"""The ways in which a picture is refused, each with its reason and what to do about it."""

import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager

from PIL import Image

from engine.dataset.file_signatures import what_is
from engine.dataset.other_formats import format_of, how_to_read
from engine.dataset.sources import Source
from engine.errors import UserError

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF")
MAX_PIXELS = 64_000_000
"""A picture's limit, read from the header before anything is decoded: 64 Mpx of RGB are 192 MB of memory."""

BROKEN = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    struct.error,
    zlib.error,
    LookupError,
    TypeError,
    ArithmeticError,
    AttributeError,
    RuntimeError,
    MemoryError,
    AssertionError,
)
"""What Pillow raises on damaged files; only its own calls are wrapped in it."""


class PictureError(UserError):
    """An unusable picture. `code`: unreadable, truncated, animated, unsupported or too-many-pixels."""

    def __init__(self, code: str, what: str, why: str = "", fix: str = "") -> None:
        super().__init__(what, why, fix)
        self.code = code


@contextmanager
def guard(path: Source) -> Iterator[None]:
    """Turns what Pillow raises on damaged data into a PictureError that names the file."""
    try:
        yield
    except PictureError:
        raise
    except Image.DecompressionBombError:
        raise too_large(path, "more than 178") from None
    except BROKEN as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        if "truncated" in reason.lower() or isinstance(error, EOFError):
            raise cut_off(path, reason) from None
        raise PictureError(
            "unreadable",
            f"{path}: the picture is damaged",
            why=reason,
            fix="copy it again or save it anew as PNG",
        ) from None


def cut_off(path: Source, reason: str) -> PictureError:
    """The refusal of a file that ends too early."""
    return PictureError("truncated", f"{path}: the picture is cut off", reason, "copy or download it again")


def too_large(path: Source, pixels: str) -> PictureError:
    """The refusal of a picture of `pixels` (a text) million pixels."""
    return PictureError(
        "too-many-pixels",
        f"{path}: the picture has {pixels} million pixels",
        why=f"the limit is {MAX_PIXELS / 1e6:.0f} million, so that one file cannot fill the memory",
        fix="make a smaller copy; training reduces it to the resolution anyway",
    )


def not_a_picture(path: Source, start: bytes) -> PictureError:
    """The refusal of a file that no decoder knows, judged by its first bytes."""
    kind = what_is(start)
    if not kind:
        return PictureError(
            "unreadable",
            f"{path}: is not a picture",
            why="its beginning is that of no known picture format",
            fix="copy it again, or remove it from the folder",
        )
    if kind.startswith(("an empty", "a web page")):
        return PictureError(
            "unreadable",
            f"{path}: is {kind}",
            why="the download or copy went wrong",
            fix="download or copy it again",
        )
    if name := format_of(start):
        why = "its decoder is not installed"
        return PictureError("unsupported", f"{path}: is {kind}", why, how_to_read(name))
    return PictureError(
        "unsupported",
        f"{path}: is {kind}",
        why=f"only {', '.join(FORMATS)} are read",
        fix="convert it to PNG or JPEG",
    )
