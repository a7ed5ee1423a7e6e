"""The previews of a run: how the same prompts looked at the start and at the chosen step, side by side."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import ClassVar

from textual import events
from textual.binding import Binding, BindingType
from textual.message import Message
from textual.strip import Strip

from engine.run.paths import condition_name
from engine.run.view import PreviewInfo
from sdtrain_tui.widgets.cells import StyledText, clean, cut, row
from sdtrain_tui.widgets.monitor_pane import MonitorPane
from sdtrain_tui.widgets.news import News
from sdtrain_tui.widgets.thumbs import Rows, mode_for
from sdtrain_tui.widgets.tile_reader import Found, TileReader, Want, centred, told
from sdtrain_tui.widgets.tiles import GAP, Grid, PreviewBook, best_grid, steps_shown


class PreviewsPane(MonitorPane):
    """The previews of a run by prompt and step; pictures are read in a thread."""

    NAME = "previews"
    TITLE = "Previews"
    SIDE = "pictures"
    HELP = "left right steps, up down prompts, b before and after"
    DEFAULT_CSS = "#pictures PreviewsPane { width: 2fr; }"

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("left", "step(-1)", "Earlier step", show=False, id="previews.earlier"),
        Binding("right", "step(1)", "Later step", show=False, id="previews.later"),
        Binding("home", "step_end(0)", "First step", show=False, id="previews.first"),
        Binding("end,G", "step_end(1)", "Latest step, follow", show=False, id="previews.last"),
        Binding("up,k", "prompt(-1)", "Prompt before", show=False, id="previews.previous"),
        Binding("down,j", "prompt(1)", "Next prompt", show=False, id="previews.next"),
        Binding("b", "compare", "Before and after, or one large", show=False, id="previews.compare"),
        Binding("enter", "open", "Open the picture", show=False, id="previews.open"),
    ]

    class _Loaded(Message):
        def __init__(self, found: Found) -> None:
            super().__init__()
            self.found = found

    def __init__(self, *, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(id=id, classes=classes)
        self._root = Path()
        self._previews: Sequence[PreviewInfo] = ()
        self._conditions: frozenset[int] = frozenset()
        self._book = PreviewBook()
        self._prompt = 0
        self._step: int | None = None  # None follows the newest
        self._compare = True
        self._reader = TileReader()
        self._started = False

    def on_mount(self) -> None:
        # Textual paints a starting screen about four times: pictures come after that.
        self.call_after_refresh(self._start)

    def show(self, news: News) -> None:
        """Draw again when there are other previews, or condition pictures beside them."""
        previews, root, conditions = news.view.previews, news.root, news.beside.conditions
        changed = (
            conditions != self._conditions
            or len(previews) != len(self._previews)
            or (
                len(previews) > 0
                and (previews[-1] is not self._previews[-1] or previews[0] is not self._previews[0])
            )
        )
        if changed or root != self._root:
            self._root, self._previews, self._conditions = root, previews, conditions
            self._book = PreviewBook(previews)
            self._prompt = max(0, min(self._prompt, len(self._book.prompts) - 1))
            self.redraw()

    def wanted(self, news: News) -> bool:
        """Once there is a preview."""
        return bool(news.view.previews)

    def go_to_step(self, step: int) -> None:
        """Show the newest previews that are not later than a step."""
        earlier = [known for known in self._book.steps if known <= step]
        if earlier:
            self._choose(earlier[-1])

    @property
    def chosen(self) -> PreviewInfo | None:
        """The preview at the chosen step of the chosen prompt."""
        step = self._chosen_step
        return None if step is None else self._book.at(self._book.prompts[self._prompt], step)

    @property
    def _chosen_step(self) -> int | None:
        if not self._book.steps:
            return None
        return self._book.steps[-1] if self._step is None else self._step

    # What is shown

    def heading(self) -> list[StyledText]:
        palette = self.palette
        parts: list[StyledText] = [("previews", palette.strong)]
        if self._book.prompts:
            index = self._book.prompts[self._prompt]
            parts += [
                (f"  {self._prompt + 1}/{len(self._book.prompts)} ", palette.quiet),
                (clean(self._book.prompt(index)), palette.text),
            ]
        return parts

    def footing(self) -> list[StyledText]:
        step = self._chosen_step
        if step is None or self._step is None:
            return []
        return [("held at step ", self.palette.quiet), (f"{step:,}", self.palette.accent)]

    def body(self, width: int, height: int) -> list[Strip]:
        palette, step = self.palette, self._chosen_step
        if step is None:
            text = "no previews yet"
            blank = Strip.blank(width, palette.text)
            text = cut(text, width, self.glyphs.ellipsis).center(width)
            return [*[blank] * ((height - 1) // 2), row([(text, palette.quiet)], width, palette.text)]
        shown = steps_shown(self._book.steps, step, 99)
        prompts = self._book.prompts[self._prompt :] + self._book.prompts[: self._prompt]
        beside = 1 if self._conditions and self._compare else 0
        columns = len(shown) + beside if self._compare else 1
        grid = best_grid(width, height, len(prompts), columns, 2)
        if grid is None:
            return [row([(self._summary(step), palette.quiet)], width, palette.text)]
        steps = steps_shown(self._book.steps, step, grid.columns - beside)
        rows: list[Strip] = []
        for index in prompts[: grid.rows]:
            rows.extend(self._band(index, steps, grid, width, bool(beside)))
        self._ask()
        return rows

    def _summary(self, step: int) -> str:
        preview = self.chosen
        return clean(preview.error or preview.path) if preview else f"step {step:,}"

    def _band(self, index: int, steps: list[int], grid: Grid, width: int, beside: bool) -> list[Strip]:
        """One prompt's pictures over its steps, the condition `beside` them, and the captions below."""
        fill = self.palette.text
        tiles = [self._tile(self._book.at(index, step), grid) for step in steps]
        if beside:
            tiles.insert(0, self._tile(self._condition(index), grid))
        rows = []
        for y in range(grid.height):
            parts: list[StyledText] = []
            for tile in tiles:
                parts += [*tile[y], (" " * GAP, fill)]
            rows.append(row(parts, width, fill))
        captions: list[StyledText] = []
        if beside:
            text = cut("condition", grid.width, self.glyphs.ellipsis)
            captions += [(text.center(grid.width), self.palette.quiet), (" " * GAP, fill)]
        for step in steps:
            text = cut(self._caption(index, step, grid.width), grid.width, self.glyphs.ellipsis)
            newest = step == steps[-1] and index == self._book.prompts[self._prompt]
            style = self.palette.accent if newest else self.palette.quiet
            captions += [(text.center(grid.width), style), (" " * GAP, fill)]
        return [*rows, row(captions, width, fill)]

    def _condition(self, index: int) -> PreviewInfo | None:
        path = condition_name(index)
        return PreviewInfo(0.0, 0, index, path=path) if index in self._conditions else None

    def _caption(self, index: int, step: int, width: int) -> str:
        place = f"{self._book.prompts.index(index) + 1}: " if len(self._book.prompts) > 1 else ""
        text = f"{place}step {step:,}"
        shown = self._book.at(index, step)
        if shown is not None and shown.to_prompt is not None and shown.to_pictures is not None:
            near = f"{text}  CLIP {shown.to_prompt:.2f} {shown.to_pictures:.2f}"
            text = near if len(near) <= width else text
        return text if len(text) <= width else f"{place}{step:,}"

    def _tile(self, preview: PreviewInfo | None, grid: Grid) -> Rows:
        """The cells of one tile, each row of exactly the tile's width."""
        if preview is None:
            return self._message("", grid)
        if preview.error:
            return self._message(f"not drawn: {clean(preview.error)}", grid)
        path = self._root / (preview.thumb or preview.path)
        if ".." in path.parts or not path.is_relative_to(self._root):
            return self._message("path outside of the run", grid)
        found = self._reader.get(Want(path, preview.t, grid.width, grid.height, mode_for(self.app)))
        if found is None or isinstance(found, str):
            return self._message(found or "", grid)
        return centred(found, grid, self.palette.text)

    def _message(self, text: str, grid: Grid) -> Rows:
        return told(text, grid, self.palette.warn, self.palette.text, self.glyphs.ellipsis)

    # Reading pictures

    def _start(self) -> None:
        self._started = True
        self._ask()

    def _ask(self) -> None:
        """Read what is missing, in a thread."""
        wanted = self._reader.batch() if self._started else []
        if wanted:
            self.run_worker(partial(self._load, wanted), thread=True, group="thumbs", exit_on_error=False)

    def _load(self, wanted: list[Want]) -> None:
        self.post_message(self._Loaded(self._reader.read(wanted)))

    def on_previews_pane__loaded(self, message: _Loaded) -> None:
        """Show the pictures that have been read, and go on with what was asked for meanwhile."""
        message.stop()
        self._reader.take(message.found)
        self.redraw()
        self._ask()

    # What the keys do

    def action_step(self, by: int) -> None:
        """To an earlier or later step that has previews."""
        steps, chosen = self._book.steps, self._chosen_step
        if chosen is not None:
            place = min(range(len(steps)), key=lambda i: abs(steps[i] - chosen))
            self._choose(steps[max(0, min(len(steps) - 1, place + by))])

    def action_step_end(self, last: int) -> None:
        """To the first step, or to the latest one and follow."""
        if self._book.steps:
            self._choose(self._book.steps[-1 if last else 0])

    def action_prompt(self, by: int) -> None:
        """To the prompt before or the next one, round the end."""
        if self._book.prompts:
            self._prompt = (self._prompt + by) % len(self._book.prompts)
            self.redraw()

    def action_compare(self) -> None:
        """Switch between before-and-after and one large picture."""
        self._compare = not self._compare
        self.redraw()

    def action_open(self) -> None:
        """Tell the screen that the chosen preview is wanted in full."""
        if self.chosen is not None:
            self.post_message(self.Opened(self, self.chosen))

    def on_mouse_scroll_up(self, event: events.MouseScrollUp) -> None:
        """To an earlier step."""
        event.stop()
        self.action_step(-1)

    def on_mouse_scroll_down(self, event: events.MouseScrollDown) -> None:
        """To a later step."""
        event.stop()
        self.action_step(1)

    def _choose(self, step: int) -> None:
        self._step = None if step == self._book.steps[-1] else step
        self.redraw()
