"""Reads one picture, whatever its format, as upright 8-bit RGB, and refuses what cannot be trained on."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from PIL import (  # the plugins register themselves; importing them by name keeps all the other parsers out
    BmpImagePlugin,  # noqa: F401
    GifImagePlugin,  # noqa: F401
    Image,
    JpegImagePlugin,  # noqa: F401
    PngImagePlugin,  # noqa: F401
    TiffImagePlugin,  # noqa: F401
    UnidentifiedImageError,
    WebPImagePlugin,  # noqa: F401
)

from engine.dataset.file_signatures import looks_whole, png_orientation
from engine.dataset.other_formats import can_read, format_of
from engine.dataset.refusals import (
    BROKEN,
    FORMATS,
    MAX_PIXELS,
    PictureError,
    cut_off,
    guard,
    not_a_picture,
    too_large,
)
from engine.dataset.sources import Source, Span, Stretch, opened

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Pixels = npt.NDArray[np.uint8]
else:
    # Headers are read without numpy, whose import takes a tenth of a command that looks at pictures.
    Pixels = Any
Colour = tuple[int, int, int]

WHITE: Colour = (255, 255, 255)

_ORIENTATION = 0x0112
_SWAPPED = (5, 6, 7, 8)

# Pillow's warnings (damaged EXIF, more than 89 Mpx) would be written across a terminal's screen; what matters
# of them is an error here.
warnings.filterwarnings("ignore", module=r"PIL\.")


@dataclass(frozen=True, slots=True)
class Header:
    """What a picture's header says; width and height in pixels, after the EXIF rotation."""

    format: str
    mode: str
    width: int
    height: int
    orientation: int
    alpha: bool
    sixteen_bit: bool
    several_pages: bool

    @property
    def grey(self) -> bool:
        """Whether the picture has one channel (and perhaps alpha)."""
        return self.mode in ("1", "L", "LA") or self.mode.startswith("I;16")


@dataclass(frozen=True, slots=True)
class Placement:
    """How a picture covers a size: its resized size and the crop's corner, in target pixels."""

    width: float
    height: float
    left: int
    top: int


def read_header(path: Source) -> Header:
    """The header of the picture at `path`, without decoding it unless its end looks cut off.

    Raises PictureError for what `load_rgb` would refuse, as far as the header and the file's end show it.
    """
    with _opened(path) as (file, image):
        header = _checked(path, file, image)
        with guard(path):
            if not looks_whole(file, image):
                if image.format == "TIFF":
                    # Its table of strips is proof enough, and libtiff would write its complaints to stderr.
                    raise cut_off(path, "the file ends before its pixels do")
                image.load()
        return header


def load_rgb(path: Source, background: Colour = WHITE) -> Pixels:
    """The picture as uint8, shape (height, width, 3), upright, alpha laid over `background`.

    16 bits become 8 by dropping the low byte, CMYK becomes RGB by Pillow's profile-free formula, and of a
    TIFF with several pages the first is taken. Raises PictureError, which names the file.
    """
    import numpy as np

    with _opened(path) as (file, image):
        header = _checked(path, file, image)
        with guard(path):
            image.load()
            pixels = _rgb(image, background)
    return np.ascontiguousarray(_upright(pixels, header.orientation))


def load_opacity(path: Source) -> Pixels:
    """How opaque each pixel is, uint8, shape (height, width), upright; 255 throughout without transparency.

    Raises PictureError, which names the file.
    """
    import numpy as np

    with _opened(path) as (file, image):
        header = _checked(path, file, image)
        with guard(path):
            image.load()
            clear = image.info.get("transparency")
            if image.mode.startswith("I;16"):
                opaque = np.asarray(image).astype(np.int64) != (clear if isinstance(clear, int) else -1)
                opacity = opaque.astype(np.uint8) * np.uint8(255)
            else:
                opacity = np.array(image.convert("RGBA").getchannel("A"), dtype=np.uint8)
    return np.ascontiguousarray(_upright(opacity, header.orientation))


def placement(
    width: int,
    height: int,
    size: tuple[int, int],
    crop: tuple[float, float] = (0.5, 0.5),
    mirrored: bool = False,
) -> Placement:
    """How a width x height picture is enlarged or reduced to cover `size` and cropped to it.

    `crop`: the fractions, 0 to 1, of the spare width and height that are cut off on the left and at the top. With
    `mirrored` the corner is where the same cut lies in the mirrored picture.
    """
    scale = max(size[0] / width, size[1] / height)
    wide, high = width * scale, height * scale
    left, top = round((wide - size[0]) * crop[0]), round((high - size[1]) * crop[1])
    return Placement(wide, high, round(wide - size[0]) - left if mirrored else left, top)


def fit(array: Pixels, width: int, height: int, crop: tuple[float, float] = (0.5, 0.5)) -> Pixels:
    """`array` (uint8, H x W x C) resized to cover width x height (Pillow's Lanczos) and cropped to it.

    The crop's corner lies on a whole target pixel: a picture that needs no resizing is cut, never blurred.
    """
    import numpy as np

    high, wide = array.shape[:2]
    if (wide, high) == (width, height):
        return array.copy()
    placed = placement(wide, high, (width, height), crop)
    scale = placed.width / wide
    left, top = placed.left / scale, placed.top / scale
    box = (left, top, min(float(wide), left + width / scale), min(float(high), top + height / scale))
    resized = Image.fromarray(array).resize((width, height), Image.Resampling.LANCZOS, box=box)
    return np.array(resized, dtype=np.uint8)


@contextmanager
def _opened(path: Source) -> Iterator[tuple[Stretch, Image.Image]]:
    with ExitStack() as stack:
        try:
            stretch = stack.enter_context(opened(path))
        except OSError as error:
            why, fix = error.strerror or str(error), "check that the file exists and that you may read it"
            if isinstance(path, Span):
                fix = "leave the shard as it is and start again: a changed shard is indexed anew"
            raise PictureError("unreadable", f"{path}: cannot be opened", why, fix) from None
        with guard(path):
            try:
                image: Image.Image = Image.open(stretch.file, formats=FORMATS)
            except UnidentifiedImageError:
                image = _of_another_format(path, stretch)
        with image:
            yield stretch, image


def _of_another_format(path: Source, stretch: Stretch) -> Image.Image:
    start = stretch.pread(64, 0)
    name = format_of(start)
    if not name or not can_read(name):
        raise not_a_picture(path, start)
    try:
        return Image.open(stretch.file, formats=[name])
    except UnidentifiedImageError:
        raise not_a_picture(path, b"") from None


def _checked(path: Source, file: Stretch, image: Image.Image) -> Header:
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise too_large(path, f"{width} x {height} = {width * height / 1e6:.0f}")
    with guard(path):
        several = bool(getattr(image, "is_animated", False))
    if several and image.format not in ("TIFF", "MPO"):
        why, fix = "one frame would have to be chosen for you", "save the frame you want as a PNG"
        raise PictureError("animated", f"{path}: is an animated {image.format}", why, fix)
    if image.mode in ("I", "F", "LAB"):
        why, fix = "such numbers have no fixed white", "save it as an 8 or 16 bit RGB PNG"
        raise PictureError("unsupported", f"{path}: has pixels of the kind {image.mode}", why, fix)
    orientation = _orientation(file, image)
    if orientation in _SWAPPED:
        width, height = height, width
    deep = ";16" in str(getattr(image, "tile", [])[:1]) or ";16" in image.mode
    with guard(path):
        alpha = image.has_transparency_data
    pages = several and image.format == "TIFF"
    return Header(image.format or "", image.mode, width, height, orientation, alpha, deep, pages)


def _orientation(file: Stretch, image: Image.Image) -> int:
    """EXIF's 1 to 8, or 1 where there is none, it is damaged, or the decoder turns the picture itself."""
    if image.format in ("TIFF", "HEIF", "JXL"):
        return 1
    try:
        if image.format == "PNG":
            value: object = png_orientation(file)
        else:
            value = image.getexif().get(_ORIENTATION, 1)
    except BROKEN:
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def _rgb(image: Image.Image, background: Colour) -> Pixels:
    import numpy as np

    if image.mode.startswith("I;16"):
        words = np.asarray(image).astype(np.uint16)
        grey = np.repeat((words >> 8).astype(np.uint8)[:, :, None], 3, axis=2)
        clear = image.info.get("transparency")
        if isinstance(clear, int):
            grey[words == clear] = background
        return grey
    if image.has_transparency_data:
        below = Image.new("RGBA", image.size, (*background, 255))
        image = Image.alpha_composite(below, image.convert("RGBA"))
    return np.array(image.convert("RGB"), dtype=np.uint8)


def _upright(pixels: Pixels, orientation: int) -> Pixels:
    """`pixels` turned as EXIF orientation 1 to 8 asks (CIPA DC-008, tag 0x0112)."""
    if orientation in _SWAPPED:
        pixels = pixels.swapaxes(0, 1)
    rows = slice(None, None, -1) if orientation in (3, 4, 7, 8) else slice(None)
    columns = slice(None, None, -1) if orientation in (2, 3, 6, 7) else slice(None)
    return pixels[rows, columns]
