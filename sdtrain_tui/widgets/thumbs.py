"""Pictures as terminal cells: two pixels a cell through half blocks, in the colours that the terminal has."""

from __future__ import annotations

from collections import OrderedDict
from functools import lru_cache
from itertools import groupby
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Literal

from rich.color import Color
from rich.style import Style
from textual.app import App

from engine.files import opened_plain
from sdtrain_tui.widgets.cells import StyledText

if TYPE_CHECKING:
    from PIL.Image import Image

Mode = Literal["truecolor", "256", "16", "shade", "ascii"]
Rows = list[list[StyledText]]

MAX_PIXELS = 64_000_000
_SHADES = {"shade": " ░▒▓█", "ascii": " .:-=+*#%@"}
_SIXTEEN = [
    *((0, 0, 0), (170, 0, 0), (0, 170, 0), (170, 85, 0), (0, 0, 170), (170, 0, 170), (0, 170, 170)),
    *((170, 170, 170), (85, 85, 85), (255, 85, 85), (85, 255, 85), (255, 255, 85), (85, 85, 255)),
    *((255, 85, 255), (85, 255, 255), (255, 255, 255)),
]


class ThumbError(Exception):
    """A picture that cannot be shown; the text says why in a few words."""


def mode_for(app: App[object]) -> Mode:
    """How pictures are drawn on the app's terminal."""
    if getattr(app, "glyph_set", "braille") == "ascii":
        return "ascii"
    if app.no_color:
        return "shade"
    system = app.console.color_system
    if system is None:
        return "shade"
    return "truecolor" if system == "truecolor" else "256" if system == "256" else "16"


def fitted(width: int, height: int, box_width: int, box_height: int) -> tuple[int, int]:
    """The largest cells (columns, rows) inside a box that keep a picture's shape; a cell is 1x2 pixels."""
    scale = min(box_width / width, 2 * box_height / height)
    return max(1, round(width * scale)), max(1, min(box_height, round(height * scale / 2)))


def decode(path: Path, box_width: int, box_height: int, mode: Mode) -> Rows:
    """The picture as rows of parts, fitted into a box of cells. Raises ThumbError."""
    from PIL import Image, UnidentifiedImageError

    try:
        with opened_plain(path) as file, Image.open(file) as picture:
            if picture.width * picture.height > MAX_PIXELS:
                raise ThumbError("the picture is too large to show")
            columns, rows = fitted(*picture.size, box_width, box_height)
            picture.draft("RGB", (columns * 2, rows * 4))
            image = picture.convert("RGB")
    except FileNotFoundError:
        raise ThumbError("the picture is gone") from None
    except (
        UnidentifiedImageError,
        Image.DecompressionBombError,
        ValueError,
        SyntaxError,
        TypeError,
        AssertionError,
        LookupError,
    ):
        raise ThumbError("the file is no readable picture") from None
    except OSError as error:
        raise ThumbError(f"cannot be read: {error.strerror or 'damaged file'}") from None
    if mode in ("shade", "ascii"):
        return _shaded(image.resize((columns, rows), Image.Resampling.BOX), _SHADES[mode])
    image = image.resize((columns, rows * 2), Image.Resampling.LANCZOS)
    return _half_blocks(image if mode == "truecolor" else _quantized(image, mode))


def _half_blocks(image: Image) -> Rows:
    data, width = image.tobytes(), image.width
    pixels = [data[i : i + 3] for i in range(0, len(data), 3)]
    rows: Rows = []
    for y in range(0, image.height, 2):
        upper = pixels[y * width : (y + 1) * width]
        lower = pixels[(y + 1) * width : (y + 2) * width]
        row: list[StyledText] = []
        last = (b"", b"")
        for (top, bottom), run in groupby(zip(upper, lower, strict=True)):
            char, last = _cell(top, bottom, last)
            row.append((char * len(list(run)), _style(*last)))
        rows.append(row)
    return rows


def _cell(top: bytes, bottom: bytes, last: tuple[bytes, bytes]) -> tuple[str, tuple[bytes, bytes]]:
    """The character for two pixels, and its front and back colour: as many as can be kept from the last cell."""
    front, back = last
    if top == bottom:
        return ("█", last) if top == front else (" ", (front or top, top))
    if top == back or bottom == front:
        return "▄", (bottom, top)
    return "▀", (top, bottom)


@lru_cache(maxsize=16384)
def _style(front: bytes, back: bytes) -> Style:
    return Style(color=Color.from_rgb(*front), bgcolor=Color.from_rgb(*back))


def _shaded(image: Image, ramp: str) -> Rows:
    data, width = image.convert("L").tobytes(), image.width
    text = "".join(ramp[value * len(ramp) // 256] for value in data)
    return [[(text[y * width : (y + 1) * width], Style.null())] for y in range(image.height)]


def _quantized(image: Image, mode: Mode) -> Image:
    """The picture in the terminal's own colours; dithered only where there are 16, as noise costs bytes."""
    from PIL import Image

    dither = Image.Dither.NONE if mode == "256" else Image.Dither.FLOYDSTEINBERG
    return image.quantize(palette=_palette_image(mode), dither=dither).convert("RGB")


@lru_cache(maxsize=2)
def _palette_image(mode: Mode) -> Image:
    from PIL import Image

    colors = _SIXTEEN if mode == "16" else _xterm_colors()
    flat = [value for color in colors for value in color]
    holder = Image.new("P", (1, 1))
    holder.putpalette(flat + flat[:3] * (256 - len(colors)))
    return holder


def _xterm_colors() -> list[tuple[int, int, int]]:
    """The 6x6x6 cube and the grey ramp of xterm-256."""
    levels = (0, 95, 135, 175, 215, 255)
    cube = [(r, g, b) for r in levels for g in levels for b in levels]
    return cube + [(8 + 10 * i,) * 3 for i in range(24)]


class ThumbCache:
    """Decoded pictures, least recently used out first; a changed file is another picture. Safe across threads."""

    def __init__(self, size: int = 256) -> None:
        self._size = size
        self._lock = Lock()
        self._kept: OrderedDict[tuple[str, int, int, int, Mode], Rows] = OrderedDict()

    def get(self, path: Path, width: int, height: int, mode: Mode) -> Rows:
        """The picture, decoded where it is new. Raises ThumbError."""
        try:
            changed = path.stat().st_mtime_ns
        except OSError:
            raise ThumbError("the picture is gone") from None
        key = (str(path), changed, width, height, mode)
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
        rows = decode(path, width, height, mode)
        with self._lock:
            self._kept[key] = rows
            while len(self._kept) > self._size:
                self._kept.popitem(last=False)
        return rows
