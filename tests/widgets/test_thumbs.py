"""Pictures as cells: shape, colours, damaged files, the cache, and their price in bytes."""

import os
import random
from pathlib import Path

import pytest
from PIL import Image
from rich.color import ColorSystem
from rich.segment import Segment
from textual.strip import Strip

from sdtrain_tui.widgets.cells import parts_width
from sdtrain_tui.widgets.sparse_output import Encoder
from sdtrain_tui.widgets.thumbs import Mode, ThumbCache, ThumbError, decode, fitted


def photo(path: Path, width: int = 256, height: int = 256, seed: int = 0) -> Path:
    """A picture with soft colours and some noise."""
    rng = random.Random(seed)
    small = Image.new("RGB", (7, 7))
    small.putdata([(rng.randint(0, 255), rng.randint(0, 255), rng.randint(0, 255)) for _ in range(49)])
    small.resize((width, height), Image.Resampling.BICUBIC).save(path)
    return path


@pytest.mark.parametrize(
    ("size", "box", "cells"),
    [((256, 256), (20, 10), (20, 10)), ((256, 128), (20, 10), (20, 5)), ((128, 512), (20, 10), (5, 10))],
)
def test_a_picture_keeps_its_shape(
    size: tuple[int, int], box: tuple[int, int], cells: tuple[int, int]
) -> None:
    assert fitted(*size, *box) == cells


@pytest.mark.parametrize("mode", ["truecolor", "256", "16", "shade", "ascii"])
def test_every_row_has_the_same_width(tmp_path: Path, mode: Mode) -> None:
    rows = decode(photo(tmp_path / "a.png", 200, 256), 20, 10, mode)
    assert len(rows) == 10
    assert {parts_width(row) for row in rows} == {16}
    if mode == "ascii":
        assert all(text.isascii() for row in rows for text, _ in row)


def test_colours_are_those_of_the_picture_and_equal_ones_are_merged(tmp_path: Path) -> None:
    picture = Image.new("RGB", (64, 64), (255, 0, 0))
    picture.paste((0, 0, 255), (0, 32, 64, 64))
    picture.save(tmp_path / "a.png")
    rows = decode(tmp_path / "a.png", 8, 4, "truecolor")
    assert [len(row) for row in rows] == [1, 1, 1, 1]
    top, bottom = rows[0][0][1], rows[3][0][1]
    assert top.bgcolor is not None and bottom.bgcolor is not None
    assert tuple(top.bgcolor.get_truecolor()) == pytest.approx((255, 0, 0), abs=3)
    assert tuple(bottom.bgcolor.get_truecolor()) == pytest.approx((0, 0, 255), abs=3)


def test_the_cells_show_the_pixels_whichever_half_block_is_cheaper(tmp_path: Path) -> None:
    rng = random.Random(3)
    colors = [(255, 0, 0), (0, 0, 255), (0, 0, 0), (255, 255, 255)]
    picture = Image.new("RGB", (16, 16))
    picture.putdata([rng.choice(colors) for _ in range(256)])
    picture.save(tmp_path / "a.png")
    seen: list[object] = []
    for row in decode(tmp_path / "a.png", 16, 8, "truecolor"):
        lines: list[list[object]] = [[], []]
        for text, style in row:
            assert style.color is not None and style.bgcolor is not None
            front, back = style.color.get_truecolor(), style.bgcolor.get_truecolor()
            pair = {"▀": (front, back), "▄": (back, front), "█": (front, front), " ": (back, back)}
            for char in text:
                lines[0].append(tuple(pair[char][0]))
                lines[1].append(tuple(pair[char][1]))
        seen += lines[0] + lines[1]
    assert seen == list(picture.getdata())


@pytest.mark.parametrize(("mode", "system", "limit"), [("truecolor", 3, 8000), ("256", 2, 3500)])
def test_a_small_thumbnail_is_cheap(tmp_path: Path, mode: Mode, system: int, limit: int) -> None:
    encoder = Encoder(ColorSystem(system))
    for y, row in enumerate(decode(photo(tmp_path / "a.png"), 20, 10, mode)):
        encoder.strip(0, y, Strip([Segment(text, style) for text, style in row]))
    size = len(encoder.text().encode())
    print(f"20x10 in {mode}: {size} bytes")
    assert size <= limit


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("none.png", None, "gone"),
        ("empty.png", b"", "no readable picture"),
        ("text.jpg", b"not a picture", "no readable picture"),
        ("torn.png", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "damaged"),
    ],
)
def test_a_file_that_is_no_picture_says_so(
    tmp_path: Path, name: str, content: bytes | None, says: str
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(ThumbError, match=says):
        decode(tmp_path / name, 20, 10, "truecolor")


def test_a_picture_cut_off_in_the_middle_says_so(tmp_path: Path) -> None:
    for name in ("a.png", "a.jpg"):
        whole = photo(tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(whole[: len(whole) // 2])
        with pytest.raises(ThumbError):
            decode(tmp_path / name, 20, 10, "truecolor")


def test_the_cache_reads_a_changed_file_again_and_forgets_the_oldest(tmp_path: Path) -> None:
    path = photo(tmp_path / "a.png")
    cache = ThumbCache(size=2)
    first = cache.get(path, 20, 10, "truecolor")
    assert cache.get(path, 20, 10, "truecolor") is first
    photo(path, seed=1)
    os.utime(path, ns=(1, 1))
    second = cache.get(path, 20, 10, "truecolor")
    assert second != first
    cache.get(path, 10, 5, "truecolor")
    cache.get(path, 8, 4, "truecolor")
    assert cache.get(path, 20, 10, "truecolor") is not second
