"""Rows of cells: cleaning, cutting, laying out, and finding what changed."""

import pytest
from rich.cells import cell_len
from rich.segment import Segment
from rich.style import Style
from textual.strip import Strip

from sdtrain_tui.widgets.cells import changed_spans, clean, cut, row, split_cells, spread

PLAIN, RED = Style(), Style(color="red")


def strip(text: str, style: Style = PLAIN) -> Strip:
    return Strip([Segment(text, style)])


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        ("plain [bold]text[/bold]", "plain [bold]text[/bold]"),
        ("\x1b[31mred\x1b[0m", "[31mred[0m"),
        ("two\nlines\tand tab", "two lines and tab"),
        ("\u202egnp.exe\u200b", "gnp.exe"),
        ("heart \u2764\ufe0f", "heart \u2764"),
        ("e\u0301", "\u00e9"),
        ("\x9b2Jclear", "2Jclear"),
    ],
)
def test_foreign_text_is_shown_literally_and_without_control_characters(raw: str, shown: str) -> None:
    assert clean(raw) == shown


@pytest.mark.parametrize("width", range(1, 12))
def test_a_cut_text_never_exceeds_its_width(width: int) -> None:
    for text in ("abcdefgh", "猫猫猫猫", "a猫b猫c"):
        assert cell_len(cut(text, width)) <= width


def test_a_row_has_exactly_its_width() -> None:
    for width in range(20):
        assert row([("abc", PLAIN), ("猫def", RED)], width, PLAIN).cell_length == width
        assert spread([("left side", PLAIN)], [("right", RED)], width, PLAIN).cell_length == width


def test_the_right_part_of_a_spread_row_stays_whole() -> None:
    assert spread([("a long left side", PLAIN)], [("right", RED)], 12, PLAIN).text == "a lon… right"


def test_equal_rows_have_no_changed_span() -> None:
    assert changed_spans(strip("abc"), Strip([Segment("a", PLAIN), Segment("bc", PLAIN)])) == []


def test_a_changed_character_and_a_changed_colour_are_found() -> None:
    assert changed_spans(strip("loss 0.81"), strip("loss 0.82")) == [(8, 9)]
    assert changed_spans(strip("abc"), strip("abc", RED)) == [(0, 3)]


def test_near_changes_are_joined_and_far_ones_are_not() -> None:
    assert changed_spans(strip("a1234b"), strip("x1234y")) == [(0, 6)]
    far = "1" * 20
    assert changed_spans(strip(f"a{far}b"), strip(f"x{far}y")) == [(0, 1), (21, 22)]


def test_a_span_never_cuts_a_wide_character() -> None:
    assert changed_spans(strip("a猫b"), strip("axyb")) == [(1, 3)]
    assert changed_spans(strip("axyb"), strip("ax猫")) == [(2, 4)]
    assert changed_spans(strip("猫猫"), strip("猫犬")) == [(2, 4)]


def test_a_combining_mark_belongs_to_the_cell_before_it() -> None:
    assert [text for text, _ in split_cells(strip("x\u0323y"))] == ["x\u0323", "y"]
