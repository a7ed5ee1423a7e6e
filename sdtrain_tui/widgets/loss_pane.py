"""The loss chart: the raw curve behind its smoothed one, with zoom, a log axis and a keyboard crosshair."""

from __future__ import annotations

import math
from typing import ClassVar

from textual import events
from textual.binding import Binding, BindingType
from textual.strip import Strip

from engine.run.view import ENDED, RunView
from sdtrain_tui.widgets.cells import StyledText, row
from sdtrain_tui.widgets.chart import Canvas, Extremes, Scale, fit_scale, typical_range
from sdtrain_tui.widgets.history import LossHistory
from sdtrain_tui.widgets.loss_plot import LABEL, LossPlot
from sdtrain_tui.widgets.monitor_pane import MonitorPane
from sdtrain_tui.widgets.news import News
from sdtrain_tui.widgets.numbers import learning_rate, short
from sdtrain_tui.widgets.validation_curve import columns, latest
from sdtrain_tui.widgets.window import Window, fixed_window, live_window, whole_window

SMOOTHING = (0.0, 0.5, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 0.999)


class LossPane(MonitorPane):
    """The loss of a run over its steps."""

    NAME = "loss"
    TITLE = "Loss chart"
    SIDE = "pictures"
    HELP = "arrows crosshair, + - zoom, [ ] pan, y log axis, e E smoothing, w raw, 0 reset"
    DEFAULT_CSS = "#pictures LossPane { width: 3fr; }"

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("left,h", "cross(-1)", "Crosshair left", show=False, id="loss.left"),
        Binding("right", "cross(1)", "Crosshair right", show=False, id="loss.right"),
        Binding("shift+left", "cross(-10)", "Crosshair far left", show=False, id="loss.far_left"),
        Binding("shift+right", "cross(10)", "Crosshair far right", show=False, id="loss.far_right"),
        Binding("home", "cross_end(0)", "Crosshair to the first step", show=False, id="loss.first"),
        Binding("end", "cross_end(1)", "Crosshair to the last step", show=False, id="loss.last"),
        Binding("plus,equals_sign", "zoom(1)", "Zoom in", show=False, id="loss.zoom_in"),
        Binding("minus", "zoom(-1)", "Zoom out", show=False, id="loss.zoom_out"),
        Binding("left_square_bracket", "pan(-1)", "Pan left", show=False, id="loss.pan_left"),
        Binding("right_square_bracket", "pan(1)", "Pan right", show=False, id="loss.pan_right"),
        Binding("y", "log", "Log axis", show=False, id="loss.log"),
        Binding("e", "smooth(1)", "More smoothing", show=False, id="loss.smoother"),
        Binding("E", "smooth(-1)", "Less smoothing", show=False, id="loss.rougher"),
        Binding("w", "raw", "Raw curve on and off", show=False, id="loss.raw"),
        Binding("0", "reset", "Whole run, follow the end", show=False, id="loss.reset"),
        Binding("escape", "leave", "Crosshair off, then zoom off", show=False, id="loss.leave"),
    ]

    def __init__(self, *, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(id=id, classes=classes)
        self._view = RunView()
        self._state = "queued"
        self._history = LossHistory(0.9)
        self._log = False
        self._show_raw = True
        self._zoom = 0
        self._start: float | None = None  # None follows the end
        self._cross: int | None = None
        self._scale: Scale | None = None
        self._window: Window | None = None

    def show(self, news: News) -> None:
        """Draw again when the view or the state is another one."""
        view, state = news.view, news.state
        if view is self._view and state == self._state:
            return
        if (state in ENDED) != (self._state in ENDED):
            self._scale = None
        self._view, self._state = view, state
        if self._history.follow(view.steps) and self._cross is not None:
            self._cross = min(self._cross, len(self._history) - 1) if len(self._history) else None
        self.redraw()

    @property
    def crosshair_step(self) -> int | None:
        """The update under the crosshair."""
        return None if self._cross is None else self._history.step(self._cross)

    @property
    def smoothing(self) -> float:
        """The smoothing factor in force."""
        return self._history.factor

    # What stands in the frame

    def heading(self) -> list[StyledText]:
        palette, view = self.palette, self._view
        if view.loss is None:
            return [("loss", palette.strong)]
        parts: list[StyledText] = [("loss ", palette.strong), (short(view.loss), palette.text)]
        smooth = self._history.last_smooth
        if smooth is not None:
            parts += [("  smooth ", palette.quiet), (short(smooth), palette.line)]
        best = view.best
        if best is not None:
            lowest = [(" lowest at ", palette.quiet), (f"{best[0]:,}", palette.ok)]
            parts += [*self._held_out(view.step), *lowest]
        if view.lr is not None:
            parts += [("  lr ", palette.quiet), (learning_rate(view.lr), palette.text)]
        return parts

    def heading_right(self) -> list[StyledText]:
        notes = [f"ema {self._history.factor:g}"]
        if self._log:
            notes.append("log")
        if self._zoom:
            notes.append(f"zoom {2**self._zoom}x")
        if self._start is not None:
            notes.append("held")
        return [(f" {self.glyphs.separator} ".join(notes), self.palette.quiet)]

    def footing(self) -> list[StyledText]:
        if self._cross is None:
            return []
        palette = self.palette
        step, loss, smooth, lr = self._history.values(self._cross)
        return [
            ("step ", palette.quiet),
            (f"{step:,}", palette.accent),
            ("  loss ", palette.quiet),
            (short(loss), palette.text),
            ("  smooth ", palette.quiet),
            (short(smooth), palette.line),
            *self._held_out(step),
            ("  lr ", palette.quiet),
            (learning_rate(lr), palette.text),
        ]

    def _held_out(self, step: int) -> list[StyledText]:
        """The loss of the held-out pictures as it was known at a step; nothing before there was one."""
        found = latest(self._view.validations, step)
        if found is None:
            return []
        return [("  held out ", self.palette.quiet), (short(found.loss), self.palette.ok)]

    # The chart

    def body(self, width: int, height: int) -> list[Strip]:
        plot_width = width - LABEL - 1
        if plot_width < 4 or height < 2 or not len(self._history):
            return self._empty(width, height)
        canvas = Canvas(plot_width, height - 1, self.glyphs.chart)
        window = self._window = self._current_window(canvas.columns)
        raw, smooth = self._history.columns(window)
        validated = columns(self._view.validations, self._history.index_of, window)
        shown = typical_range(raw if self._show_raw else [], [*smooth, *validated])
        if shown is None:
            return self._empty(width, height)
        self._scale = fit_scale(*shown, self._log, self._scale)
        self._draw(canvas, raw, smooth)
        canvas.curve(validated, self._scale, 2)
        plot = LossPlot(canvas, window, width, self.palette, self.glyphs)
        saved = [self._history.index_of(checkpoint.step) for checkpoint in self._view.checkpoints]
        return [*plot.rows(self._scale, self._cross), plot.step_axis(self._history.reach, saved)]

    def _empty(self, width: int, height: int) -> list[Strip]:
        palette = self.palette
        self._window = None
        text = "no loss yet" if self._state in ENDED else "the curve begins with the first step"
        if len(self._history):
            text = "no finite loss yet" if height > 1 else ""
        blank = Strip.blank(width, palette.text)
        lines = [blank] * (height // 2)
        return [*lines, row([(text.center(width), palette.quiet)], width, palette.text)][:height]

    def _current_window(self, columns: int) -> Window:
        size = len(self._history)
        tail = whole_window if self._state in ENDED else live_window
        window = tail(size, columns, self._zoom)
        if self._start is None:
            return window
        return fixed_window(self._start, size, columns, window.per_column)

    def _draw(self, canvas: Canvas, raw: list[Extremes], smooth: list[Extremes]) -> None:
        if self._scale is None:
            return
        if self._show_raw:
            canvas.curve(raw, self._scale, 0, sparse=self.app.no_color)
        canvas.curve(smooth, self._scale, 1)

    # What the keys do

    def action_cross(self, cells: int) -> None:
        """Move the crosshair by whole cells; it appears at the end of what is shown."""
        size = len(self._history)
        if not size or self._window is None:
            return
        if self._cross is None:
            self._set_cross(min(size, math.ceil(self._window.stop)) - 1)
            return
        across = max(1, round(self._window.per_column * (2 if self.glyphs.chart == "braille" else 1)))
        self._set_cross(self._cross + cells * across)

    def action_cross_end(self, last: int) -> None:
        """Put the crosshair on the first or the last update."""
        if len(self._history):
            self._set_cross(len(self._history) - 1 if last else 0)

    def action_zoom(self, by: int) -> None:
        """Show half or double as much; around the crosshair where there is one."""
        size = len(self._history)
        if self._window is None or not size:
            return
        closest = max(0, math.ceil(math.log2(max(size, 2) / 16)))
        zoom = max(0, min(closest, self._zoom + by))
        if zoom == self._zoom:
            return
        self._zoom = zoom
        if zoom == 0:
            self._start = None
        elif self._cross is not None:
            self._start = self._cross - self._window.per_column * self._window.columns / 2 / 2.0**by
        self._scale = None
        self.redraw()

    def action_pan(self, by: int) -> None:
        """Move the window by a quarter of its width; at the end it follows the run again."""
        if self._window is None or not self._zoom:
            return
        reach = self._window.per_column * self._window.columns
        start = self._window.start + by * reach / 4
        self._start = None if start + reach >= len(self._history) else max(0.0, start)
        self._scale = None
        self.redraw()

    def action_log(self) -> None:
        """Switch the value axis between linear and logarithmic."""
        self._log = not self._log
        self._scale = None
        self.redraw()

    def action_smooth(self, by: int) -> None:
        """The next stronger or weaker smoothing."""
        place = min(range(len(SMOOTHING)), key=lambda i: abs(SMOOTHING[i] - self._history.factor))
        self._history.set_factor(SMOOTHING[max(0, min(len(SMOOTHING) - 1, place + by))])
        self._scale = None
        self.redraw()

    def action_raw(self) -> None:
        """Hide or show the raw curve."""
        self._show_raw = not self._show_raw
        self._scale = None
        self.redraw()

    def action_reset(self) -> None:
        """The whole run, its end followed, without the crosshair."""
        self._zoom, self._start, self._cross, self._scale = 0, None, None, None
        self.redraw()

    def action_leave(self) -> None:
        """Step out: first the crosshair, then the zoom."""
        if self._cross is not None:
            self._cross = None
            self.redraw()
        else:
            self.action_reset()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Escape belongs to the screen when there is nothing to step out of."""
        return action != "leave" or self._cross is not None or self._zoom > 0

    def on_click(self, event: events.Click) -> None:
        """Put the crosshair where the mouse points."""
        window = self._window
        offset = event.get_content_offset(self)
        if window is None or offset is None:
            return
        cell = offset.x - (2 if self.framed else 0) - LABEL - 1
        across = window.columns // max(1, self.inner.width - LABEL - 1)
        if cell >= 0:
            self._set_cross(int(window.start + cell * across * window.per_column))

    def on_mouse_scroll_up(self, event: events.MouseScrollUp) -> None:
        """Zoom in."""
        event.stop()
        self.action_zoom(1)

    def on_mouse_scroll_down(self, event: events.MouseScrollDown) -> None:
        """Zoom out."""
        event.stop()
        self.action_zoom(-1)

    def _set_cross(self, index: int) -> None:
        self._cross = max(0, min(len(self._history) - 1, index))
        window = self._window
        if window is not None and window.column(self._cross) is None:
            self._start = max(0.0, self._cross - window.per_column * window.columns / 2)
        self.redraw()
        self.post_message(self.StepChosen(self, self._history.step(self._cross)))
