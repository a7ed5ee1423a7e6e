"""Windows, scales, ticks and the drawing of curves."""

import math

import pytest
from rich.style import Style

from engine.run.view import fold
from sdtrain_tui.widgets.chart import (
    Canvas,
    Scale,
    fit_scale,
    round_ticks,
    step_label,
    typical_range,
    value_ticks,
)
from sdtrain_tui.widgets.glyphs import GlyphName
from sdtrain_tui.widgets.history import LossHistory
from sdtrain_tui.widgets.window import fixed_window, live_window, whole_window
from tests.widgets.mock import history, loss_at, started, step_event

STYLES = [Style(color="blue"), Style(color="red")]
BLANK = Style()


def drawn(canvas: Canvas) -> list[str]:
    rows = range(canvas.height)
    return ["".join(text for text, _ in canvas.row(y, STYLES, BLANK, None, ("|", BLANK))) for y in rows]


@pytest.mark.parametrize("zoom", [0, 1, 3])
def test_full_columns_never_change_while_a_run_goes_on(zoom: int) -> None:
    chart = LossHistory(0.9)
    view = fold(history(1))
    before: tuple[object, list[object]] | None = None
    moved = 0
    for step in range(2, 700):
        view = fold([step_event(step)], view)
        chart.follow(view.steps)
        window = live_window(len(chart), 60, zoom)
        raw, smooth = chart.columns(window)
        full = math.floor((len(chart) - 1 - window.start) / window.per_column)
        columns: list[object] = [*raw[:full], *smooth[:full]]
        if before is not None and before[0] == window:
            shared = len(before[1]) // 2
            assert raw[:shared] + smooth[:shared] == before[1]
        else:
            moved += 1
        before = (window, columns)
        if step % 7 == 0:
            fresh = LossHistory(0.9)
            fresh.follow(view.steps)
            assert fresh.columns(window) == (raw, smooth)
    assert moved <= 12 * (1 + 16 * (zoom > 0))


@pytest.mark.parametrize("size", [1, 2, 3, 50, 59, 60, 61, 1000, 123_457])
def test_a_live_window_holds_the_whole_run_in_at_least_half_of_its_columns(size: int) -> None:
    window = live_window(size, 60, 0)
    assert window.start == 0
    assert window.stop >= size
    assert size < 2 or size / window.per_column >= 30


@pytest.mark.parametrize("zoom", [1, 2, 4])
def test_a_closer_live_window_holds_the_end(zoom: int) -> None:
    for size in range(200, 1200, 7):
        window = live_window(size, 60, zoom)
        assert window.start <= size <= window.stop + 1e-9


def test_a_finished_run_fills_the_width() -> None:
    window = whole_window(1300, 74, 0)
    assert window.start == 0
    assert window.stop == pytest.approx(1300)
    assert whole_window(1300, 74, 2).stop == pytest.approx(1300)


def test_a_moved_window_stays_inside_the_run() -> None:
    assert fixed_window(-50, 1000, 60, 4).start == 0
    assert fixed_window(5000, 1000, 60, 4).stop <= 1000
    assert fixed_window(0, 10, 60, 4).start == 0


def test_a_spike_does_not_flatten_the_rest() -> None:
    raw = [(0.1, 0.2)] * 99 + [(0.1, 50.0)]
    assert typical_range(raw, [(0.1, 0.15)] * 100) == (0.1, 0.2)
    assert typical_range([(0.1, 50.0)], []) == (0.1, 50.0)
    assert typical_range([None], [None]) is None


def test_the_scale_stays_while_it_serves_and_has_slack() -> None:
    first = fit_scale(1.0, 2.0, False, None)
    assert first.low == pytest.approx(0.9)
    assert first.high == pytest.approx(2.1)
    assert fit_scale(0.95, 2.05, False, first) is first
    assert fit_scale(1.0, 2.5, False, first).high > 2.5
    assert fit_scale(1.0, 1.1, False, first) is not first
    assert fit_scale(0.0, 2.0, False, None).low == 0.0


def test_a_constant_series_has_a_scale() -> None:
    for value in (0.0, 1e-6, 3.0, -2.0):
        scale = fit_scale(value, value, False, None)
        assert scale.low <= value < scale.high
    assert fit_scale(2.0, 2.0, True, None).place(2.0) == pytest.approx(0.5)


def test_a_log_axis_shows_no_zero() -> None:
    assert Scale(-2, 0, True).place(0.0) is None
    assert Scale(-2, 0, True).place(0.1) == pytest.approx(0.5)


@pytest.mark.parametrize(("low", "high"), [(0, 1), (0.031, 0.0457), (-3, 8000), (1e-9, 3e-9), (5, 5)])
def test_ticks_are_few_and_inside(low: float, high: float) -> None:
    for most in (2, 3, 5, 9):
        ticks = round_ticks(low, high, most)
        assert len(ticks) <= most
        assert all(low - 1e-12 <= tick <= high + 1e-12 for tick in ticks)


def test_tick_labels_tell_neighbouring_ticks_apart() -> None:
    for scale in (
        Scale(0, 0.55),
        Scale(0.0801, 0.0832),
        Scale(0, 4000),
        Scale(-3, 1, True),
        Scale(-1.2, -0.9, True),
    ):
        labels = [label for _, label in value_ticks(scale, 5)]
        assert len(set(labels)) == len(labels)


def test_step_labels_are_short() -> None:
    assert [step_label(s) for s in (0, 500, 9_500, 20_000, 12_500, 1_500_000)] == [
        *("0", "500", "9,500", "20k", "12.5k", "1.5M")
    ]


@pytest.mark.parametrize("kind", ["braille", "block", "ascii"])
def test_a_rising_line_rises_in_every_character_set(kind: GlyphName) -> None:
    canvas = Canvas(8, 4, kind)
    values = [i / (canvas.columns - 1) for i in range(canvas.columns)]
    canvas.curve([(value, value) for value in values], Scale(0, 1), 1)
    lines = drawn(canvas)
    assert lines[0].rstrip()[-1:] == lines[0][-1] != " "
    assert lines[3][0] != " "
    starts = [len(line) - len(line.lstrip()) for line in lines]
    assert starts == sorted(starts, reverse=True)
    if kind == "ascii":
        assert set("".join(lines)) <= {" ", "*"}


def test_a_gap_stays_empty_and_the_later_curve_wins() -> None:
    canvas = Canvas(4, 1, "ascii")
    canvas.curve([(0.0, 1.0), None, (0.0, 1.0), None], Scale(0, 1), 0)
    canvas.curve([(0.5, 0.5), None, None, None], Scale(0, 1), 1)
    assert drawn(canvas) == ["* : "]


def test_values_beyond_the_scale_are_drawn_at_its_edge() -> None:
    canvas = Canvas(1, 3, "ascii")
    canvas.curve([(0.5, 99.0)], Scale(0, 1), 1)
    assert drawn(canvas) == ["*", "*", " "]


def test_a_resume_drops_the_later_part_of_the_chart() -> None:
    chart = LossHistory(0.9)
    view = fold(history(600))
    chart.follow(view.steps)
    again = {"kind": "resumed", "t": 2e9, "from_step": 500}
    redone = [step_event(step, t=2e9 + step, loss=7.0) for step in range(501, 651)]
    view = fold([again, *redone], view)
    assert chart.follow(view.steps)
    assert len(chart) == 650
    assert chart.values(499)[:2] == (500, loss_at(500))
    assert chart.values(500)[:2] == (501, 7.0)
    assert not chart.follow(view.steps)


def test_steps_without_a_time_are_still_followed() -> None:
    chart = LossHistory(0.0)
    view = fold([started(), step_event(1, t="nan"), step_event(2, t="nan")])
    chart.follow(view.steps)
    assert not chart.follow(fold([step_event(3, t="nan")], view).steps)
    assert len(chart) == 3
