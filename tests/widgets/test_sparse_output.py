"""The lean encoder paints the same screen as Textual's own, in fewer bytes."""

import random

import pyte
import pytest
from rich.color import ColorSystem
from rich.console import Console
from rich.segment import Segment
from rich.style import Style
from textual._compositor import ChopsUpdate, LayoutUpdate
from textual.geometry import Region
from textual.strip import Strip

from sdtrain_tui.widgets.cells import split_cells
from sdtrain_tui.widgets.sparse_output import Encoder, LeanChops, LeanLayout, lean

WIDTH, HEIGHT = 40, 6
COLORS = ["#121418", "#87afff", "#e07f7f", "bright_red", "color(99)", None]


def random_strip(rng: random.Random, width: int = WIDTH) -> Strip:
    cells: list[Segment] = []
    left = width
    while left:
        size = rng.randint(1, min(9, left))
        text = " " * size if rng.random() < 0.3 else "".join(rng.choice("abc⣿─▀") for _ in range(size))
        style = Style(
            color=rng.choice(COLORS),
            bgcolor=rng.choice(COLORS),
            bold=rng.random() < 0.3,
            italic=rng.random() < 0.2,
            underline=rng.random() < 0.1,
            reverse=rng.random() < 0.1,
        )
        cells.append(Segment(text, style))
        left -= size
    return Strip(cells, width)


def console(system: str) -> Console:
    return Console(color_system=system, force_terminal=True, width=WIDTH, height=HEIGHT)  # type: ignore[arg-type]


def painted(*texts: str) -> list[list[tuple[object, ...]]]:
    """What a terminal shows; the front of a blank counts only where it can be seen."""
    screen = pyte.Screen(WIDTH, HEIGHT)
    stream = pyte.Stream(screen)
    for text in texts:
        stream.feed(text)
    rows = []
    for y in range(HEIGHT):
        row: list[tuple[object, ...]] = []
        for x in range(WIDTH):
            cell = screen.buffer[y][x]
            hidden = cell.data == " " and not cell.underscore and not cell.reverse
            look = () if hidden else (cell.fg, cell.bold, cell.italics, cell.underscore)
            row.append((cell.data, cell.bg, cell.reverse, *look))
        rows.append(row)
    return rows


@pytest.mark.parametrize("system", ["truecolor", "256", "standard"])
@pytest.mark.parametrize("seed", range(10))
def test_a_full_paint_looks_as_textuals_own(system: str, seed: int) -> None:
    rng = random.Random(seed)
    rows = [[random_strip(rng, 15), random_strip(rng, WIDTH - 15)] for _ in range(HEIGHT)]
    region = Region(0, 0, WIDTH, HEIGHT)
    own = LayoutUpdate(list(rows), region).render_segments(console(system))
    slim = LeanLayout(list(rows), region).render_segments(console(system))
    assert painted(slim) == painted(own)
    assert len(slim.encode()) < len(own.encode())


@pytest.mark.parametrize("seed", range(10))
def test_a_partial_paint_leaves_the_right_screen(seed: int) -> None:
    rng = random.Random(seed)
    before = [random_strip(rng) for _ in range(HEIGHT)]
    chops, spans, after = [], [], []
    for y in range(HEIGHT):
        x1 = rng.randint(0, WIDTH - 2)
        x2 = rng.randint(x1 + 1, WIDTH)
        spans.append((y, x1, x2))
        fresh = random_strip(rng)
        whole = Strip.join([before[y].crop(0, x1), fresh.crop(x1, x2), before[y].crop(x2, WIDTH)])
        chops.append({0: whole.crop(0, 15), 15: whole.crop(15, WIDTH)})
        after.append(whole)
    start = LayoutUpdate([[strip] for strip in before], Region(0, 0, WIDTH, HEIGHT)).render_segments(
        console("256")
    )
    end = LayoutUpdate([[strip] for strip in after], Region(0, 0, WIDTH, HEIGHT)).render_segments(
        console("256")
    )
    update = ChopsUpdate(chops, spans, [[15, WIDTH]] * HEIGHT)
    slim = lean(update)
    assert isinstance(slim, LeanChops)
    assert painted(start, slim.render_segments(console("256"))) == painted(end)


def test_only_the_dirty_cells_are_sent() -> None:
    strip = Strip([Segment("x" * WIDTH, Style(color="red"))], WIDTH)
    update = LeanChops([{0: strip}], [(0, 30, 33)], [[WIDTH]])
    text = update.render_segments(console("256"))
    assert text.count("x") == 3
    assert text.startswith("\x1b[1;31H")


def test_equal_styles_are_sent_once() -> None:
    encoder = Encoder(ColorSystem.TRUECOLOR)
    style = Style(color="#ff0000", bgcolor="#000000")
    encoder.strip(
        0, 0, Strip([Segment("ab", style), Segment("  ", Style(bgcolor="#000000")), Segment("c", style)])
    )
    assert encoder.text() == "\x1b[1;1H\x1b[38;2;255;0;0;48;2;0;0;0mab  c\x1b[0m"


def test_links_are_kept() -> None:
    encoder = Encoder(ColorSystem.TRUECOLOR)
    encoder.strip(0, 0, Strip([Segment("a", Style(link="https://example.org"))]))
    assert "\x1b]8;;https://example.org\x1b\\a\x1b]8;;\x1b\\" in encoder.text()


def test_other_renderables_pass_through() -> None:
    assert lean(None) is None
    assert lean("text") == "text"


def test_cells_of_a_random_strip_are_as_many_as_its_width() -> None:
    assert len(split_cells(random_strip(random.Random(1)))) == WIDTH
