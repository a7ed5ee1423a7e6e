"""Reading pictures: every mode comes out as the same RGB, and what cannot be read is refused by name."""

import io
import os
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from engine.dataset import images
from engine.dataset.images import Header, Pixels, fit, load_rgb, read_header
from engine.dataset.refusals import PictureError

pytestmark = [  # pytest undoes the filter that the module sets
    pytest.mark.filterwarnings("ignore::UserWarning"),
    pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning"),
]

RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)


def corners(width: int = 24, height: int = 16) -> Image.Image:
    """Red top left, green top right, blue bottom left, white bottom right."""
    array = np.zeros((height, width, 3), dtype=np.uint8)
    array[: height // 2, : width // 2] = RED
    array[: height // 2, width // 2 :] = GREEN
    array[height // 2 :, : width // 2] = BLUE
    array[height // 2 :, width // 2 :] = WHITE
    return Image.fromarray(array)


def noise(width: int = 64, height: int = 48, seed: int = 0) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, depth: int, colour: int, rows: bytes, *before: bytes) -> bytes:
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    body = b"".join(before) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + header + body


def refusal(path: Path) -> PictureError:
    """What reading the header and reading the pixels both refuse the file with."""
    with pytest.raises(PictureError) as of_pixels:
        load_rgb(path)
    with pytest.raises(PictureError) as of_header:
        read_header(path)
    assert of_header.value.code == of_pixels.value.code
    assert path.name in of_pixels.value.what
    assert of_pixels.value.why and of_pixels.value.fix
    return of_pixels.value


@pytest.mark.parametrize("suffix", [".png", ".webp", ".bmp", ".tiff", ".gif"])
def test_a_lossless_picture_is_read_exactly(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"picture{suffix}"
    corners().save(path, lossless=True)  # an option that only WebP heeds
    assert np.array_equal(load_rgb(path), np.asarray(corners()))
    header = read_header(path)
    assert (header.width, header.height, header.orientation) == (24, 16, 1)


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tiff"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_exif_orientation_is_turned_upright(tmp_path: Path, suffix: str, orientation: int) -> None:
    undo = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    stored = corners().transpose(undo[orientation]) if orientation in undo else corners()
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"turned{suffix}"
    stored.save(path, exif=exif, lossless=True, quality=100, subsampling=0)
    header, pixels = read_header(path), load_rgb(path)
    assert (header.width, header.height) == (24, 16)
    assert pixels.shape == (16, 24, 3)
    assert np.abs(pixels.astype(int) - np.asarray(corners())).max() <= 3


def test_a_png_that_has_its_exif_behind_the_pixels_is_turned_too(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    buffer = io.BytesIO()
    corners().save(buffer, "PNG")
    end = chunk(b"IEND", b"")
    path = tmp_path / "late.png"
    path.write_bytes(buffer.getvalue().removesuffix(end) + chunk(b"eXIf", exif.tobytes()[6:]) + end)
    header = read_header(path)
    assert (header.width, header.height, header.orientation) == (16, 24, 6)
    assert load_rgb(path).shape == (24, 16, 3)


def test_alpha_is_laid_over_white_or_the_given_background(tmp_path: Path) -> None:
    array = np.zeros((4, 4, 4), dtype=np.uint8)
    array[:, 2:] = (255, 0, 0, 255)
    array[0, 0] = (0, 0, 0, 128)
    path = tmp_path / "clear.png"
    Image.fromarray(array).save(path)
    over_white = load_rgb(path)
    assert over_white[3, 0].tolist() == [255, 255, 255] and over_white[3, 3].tolist() == [255, 0, 0]
    assert over_white[0, 0].tolist() == [127, 127, 127]
    assert load_rgb(path, background=(0, 255, 0))[3, 0].tolist() == [0, 255, 0]
    assert read_header(path).alpha


def test_grey_with_alpha_and_palettes_with_transparency_are_laid_over_the_background(tmp_path: Path) -> None:
    Image.fromarray(np.array([[[0, 0], [80, 255]]], dtype=np.uint8), "LA").save(tmp_path / "la.png")
    assert load_rgb(tmp_path / "la.png").tolist() == [[[255, 255, 255], [80, 80, 80]]]
    palette = Image.fromarray(np.array([[0, 1]], dtype=np.uint8), "P")
    palette.putpalette([10, 20, 30, 40, 50, 60])
    palette.save(tmp_path / "p.png", transparency=0)
    assert load_rgb(tmp_path / "p.png").tolist() == [[[255, 255, 255], [40, 50, 60]]]
    palette.save(tmp_path / "opaque.png")
    assert load_rgb(tmp_path / "opaque.png").tolist() == [[[10, 20, 30], [40, 50, 60]]]
    palette.save(tmp_path / "p.gif", transparency=1)
    assert load_rgb(tmp_path / "p.gif").tolist() == [[[10, 20, 30], [255, 255, 255]]]


def test_sixteen_bits_become_their_upper_eight(tmp_path: Path) -> None:
    values = np.array([[0, 0x00FF, 0x0100, 0xABCD, 0xFFFF]], dtype=np.uint16)
    Image.fromarray(values).save(tmp_path / "grey.png")
    Image.fromarray(values).save(tmp_path / "grey.tiff")
    for name in ("grey.png", "grey.tiff"):
        assert load_rgb(tmp_path / name)[0, :, 0].tolist() == [0, 0, 1, 0xAB, 0xFF]
        header = read_header(tmp_path / name)
        assert header.sixteen_bit and header.grey
    row = b"\0" + struct.pack(">6H", 0xFFFF, 0x0100, 0x00FF, 0x8000, 0, 0x1234)
    (tmp_path / "rgb.png").write_bytes(png(2, 1, 16, 2, row))
    assert load_rgb(tmp_path / "rgb.png").tolist() == [[[255, 1, 0], [128, 0, 0x12]]]
    assert read_header(tmp_path / "rgb.png").sixteen_bit


def test_a_sixteen_bit_grey_of_one_transparent_value_shows_the_background(tmp_path: Path) -> None:
    row = b"\0" + struct.pack(">2H", 0x1234, 0x4000)
    (tmp_path / "keyed.png").write_bytes(png(2, 1, 16, 0, row, chunk(b"tRNS", struct.pack(">H", 0x1234))))
    assert load_rgb(tmp_path / "keyed.png", background=(1, 2, 3)).tolist() == [[[1, 2, 3], [64, 64, 64]]]


def test_cmyk_and_one_bit_pictures_are_read(tmp_path: Path) -> None:
    Image.new("CMYK", (8, 8), (0, 255, 255, 0)).save(tmp_path / "print.jpg", quality=100)
    assert np.abs(load_rgb(tmp_path / "print.jpg").astype(int) - RED).max() < 6
    assert read_header(tmp_path / "print.jpg").mode == "CMYK"
    Image.fromarray(np.array([[True, False]])).save(tmp_path / "bits.png")
    assert load_rgb(tmp_path / "bits.png").tolist() == [[[255, 255, 255], [0, 0, 0]]]
    assert read_header(tmp_path / "bits.png").grey


@pytest.mark.parametrize("suffix", [".gif", ".webp", ".png"])
def test_an_animated_picture_is_refused_by_name(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"moving{suffix}"
    noise(seed=1).save(path, save_all=True, append_images=[noise(seed=2)])
    error = refusal(path)
    assert error.code == "animated" and "animated" in error.what


def test_a_phone_photograph_with_a_second_picture_inside_is_no_animation(tmp_path: Path) -> None:
    path = tmp_path / "phone.jpg"
    corners().save(path, "MPO", save_all=True, append_images=[corners(8, 8)], quality=100)
    assert load_rgb(path).shape == (16, 24, 3)


def test_of_a_tiff_with_pages_the_first_is_read(tmp_path: Path) -> None:
    path = tmp_path / "pages.tiff"
    corners().save(path, save_all=True, append_images=[noise()])
    assert read_header(path).several_pages
    assert np.array_equal(load_rgb(path), np.asarray(corners()))


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".bmp", ".tiff", ".gif"])
@pytest.mark.parametrize("kept", [0.3, 0.7, 0.97])
def test_a_cut_off_file_is_found_from_its_header_and_end(tmp_path: Path, suffix: str, kept: float) -> None:
    path = tmp_path / f"torn{suffix}"
    noise().save(path)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * kept)])
    assert refusal(path).code in ("truncated", "unreadable")


def test_a_jpeg_with_bytes_behind_its_end_is_still_good(tmp_path: Path) -> None:
    path = tmp_path / "trailer.jpg"
    noise().save(path)
    path.write_bytes(path.read_bytes() + b"maker's notes" * 1000)
    assert read_header(path).width == 64


def test_a_file_that_is_something_else_is_named_as_what_it_is(tmp_path: Path) -> None:
    cases = {
        "empty.png": (b"", "empty", "unreadable"),
        "page.jpg": (b"<!DOCTYPE html><html>", "web page", "unreadable"),
        "film.png": (b"\0\0\0\x18ftypisom\0\0\0\0", "video", "unsupported"),
        "layers.png": (b"8BPS\0\1", "Photoshop", "unsupported"),
        "random.png": (bytes(range(64)), "not a picture", "unreadable"),
    }
    for name, (start, said, code) in cases.items():
        (tmp_path / name).write_bytes(start)
        error = refusal(tmp_path / name)
        assert said in error.what and error.code == code, name


def test_formats_outside_the_list_are_not_even_tried(tmp_path: Path) -> None:
    path = tmp_path / "other.png"
    noise().save(path, "PPM")
    assert refusal(path).code == "unreadable"


def test_too_many_pixels_are_refused_before_anything_is_decoded(tmp_path: Path) -> None:
    for name, side in (("large.png", 13000), ("bomb.png", 60000)):
        (tmp_path / name).write_bytes(png(side, side, 8, 2, b""))
        error = refusal(tmp_path / name)
        assert error.code == "too-many-pixels" and "64 million" in error.why


def test_nothing_is_written_across_the_terminal_about_a_strange_picture(tmp_path: Path) -> None:
    path = tmp_path / "large.png"
    path.write_bytes(png(13000, 13000, 8, 2, b""))
    code = f"""
from pathlib import Path
from engine.dataset.images import read_header
from engine.dataset.refusals import PictureError
try:
    read_header(Path({str(path)!r}))
except PictureError as error:
    print(error.code)
"""
    environment = {"OMP_NUM_THREADS": "1", "PYTHONPATH": ":".join(sys.path)}
    result = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert (result.stdout, result.stderr) == ("too-many-pixels\n", "")


def test_floating_point_pixels_are_refused_because_their_white_is_unknown(tmp_path: Path) -> None:
    path = tmp_path / "float.tiff"
    Image.fromarray(np.ones((4, 4), dtype=np.float32)).save(path)
    assert refusal(path).code == "unsupported"


def test_a_missing_file_a_folder_and_a_named_pipe_are_refused(tmp_path: Path) -> None:
    (tmp_path / "folder.png").mkdir()
    os.mkfifo(tmp_path / "pipe.png")
    for name in ("missing.png", "folder.png", "pipe.png"):
        assert refusal(tmp_path / name).code == "unreadable"


@pytest.mark.parametrize("format_", ["PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF"])
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(at=st.floats(0, 1), flip=st.integers(1, 255), length=st.integers(1, 8), data=st.data())
def test_damaged_bytes_give_a_picture_or_a_refusal_and_nothing_else(
    tmp_path: Path, format_: str, at: float, flip: int, length: int, data: st.DataObject
) -> None:
    buffer = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6
    noise(24, 16).save(buffer, format_, **({} if format_ in ("BMP", "GIF") else {"exif": exif}))
    raw = bytearray(buffer.getvalue())
    start = int(at**3 * (len(raw) - 1))
    for offset in range(start, min(len(raw), start + length)):
        raw[offset] ^= flip
    path = tmp_path / "damaged"
    path.write_bytes(raw)
    for read in (read_header, load_rgb):
        try:
            result: Header | Pixels = read(path)
        except PictureError as error:
            assert "damaged" in error.what
        else:
            assert isinstance(result, Header) or result.dtype == np.uint8


def test_fit_covers_and_crops_at_the_fractions() -> None:
    array = np.asarray(corners(48, 16))
    left, right = fit(array, 16, 16, (0.0, 0.5)), fit(array, 16, 16, (1.0, 0.5))
    assert left.shape == (16, 16, 3)
    assert np.array_equal(left, array[:, :16]) and np.array_equal(right, array[:, 32:])
    assert np.array_equal(fit(array, 48, 8, (0.5, 1.0)), array[8:])


def test_fit_does_not_blur_what_needs_no_resizing() -> None:
    array = np.asarray(noise(65, 48))
    assert np.array_equal(fit(array, 64, 48, (0.3, 0.5)), array[:, :64])
    same = fit(array, 65, 48)
    assert np.array_equal(same, array) and same is not array


@given(
    st.integers(1, 60),
    st.integers(1, 60),
    st.integers(1, 40),
    st.integers(1, 40),
    st.floats(0, 1),
    st.floats(0, 1),
)
@settings(deadline=None)
def test_fit_gives_the_size_and_keeps_a_flat_colour(
    width: int, height: int, to_width: int, to_height: int, fx: float, fy: float
) -> None:
    flat = np.full((height, width, 3), (10, 200, 30), dtype=np.uint8)
    result = fit(flat, to_width, to_height, (fx, fy))
    assert result.shape == (to_height, to_width, 3)
    assert (result == (10, 200, 30)).all()


def test_place_agrees_with_fit() -> None:
    placed = images.placement(100, 50, (32, 32), (1.0, 0.5))
    assert (placed.width, placed.height, placed.left, placed.top) == (64.0, 32.0, 32, 0)
