"""How far a run is: its state, the steps with a bar, the time that is left, and what it does right now."""

from __future__ import annotations

from collections.abc import Sequence

from rich.style import Style
from textual.strip import Strip

from engine.run.view import ENDED, RunView, eta_s
from sdtrain_tui.palette import Palette
from sdtrain_tui.widgets.cells import StyledText, clean, cut_parts, parts_width, row, spread
from sdtrain_tui.widgets.diff_lines import Pane
from sdtrain_tui.widgets.meters import bar
from sdtrain_tui.widgets.news import News
from sdtrain_tui.widgets.numbers import count, size_text, span

_FAILED = frozenset({"crashed", "failed", "out-of-memory", "disk-full"})


def state_style(palette: Palette, state: str) -> Style:
    """The colour of a run's state."""
    if state in _FAILED:
        return palette.error
    return {
        "running": palette.ok,
        "finished": palette.ok,
        "preparing": palette.accent,
        "paused": palette.warn,
        "stalled": palette.warn,
        "stopped": palette.warn,
    }.get(state, palette.quiet)


def stage_text(stages: Sequence[str], step: int) -> str:
    """The stage that the update after `step` belongs to, as "2/3 512 px"; empty for a run without stages."""
    last = 0
    for number, (side, _, steps) in enumerate((stage.partition(":") for stage in stages), 1):
        last += int(steps) if steps.isdecimal() else 0
        if step < last or number == len(stages):
            return f"{number}/{len(stages)} {clean(side)} px"
    return ""


def amount(parameters: int) -> str:
    """How many weights, short: 1.2B, 3.4M, 768."""
    for size, sign in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if parameters >= size:
            return f"{parameters / size:.1f}{sign}"
    return str(parameters)


class ProgressPane(Pane, can_focus=False):
    """How far the run is; four rows with its frame, a fifth tells more."""

    def __init__(self, *, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(id=id, classes=classes)
        self._view = RunView()
        self._state = "queued"
        self._now = 0.0
        self._stages: Sequence[str] = ()

    def show(self, news: News) -> None:
        """Take the newest news; the time that is left runs on between two of them."""
        self._view, self._state, self._now = news.view, news.state, news.now
        self._stages = news.beside.stages
        self.redraw()

    def heading(self) -> list[StyledText]:
        palette, view = self.palette, self._view
        parts: list[StyledText] = [(clean(view.name) or "run", palette.strong)]
        about = f" {self.glyphs.separator} ".join(clean(text) for text in (view.method, view.family) if text)
        return [*parts, ("  " + about, palette.quiet)] if about else parts

    def heading_right(self) -> list[StyledText]:
        badge = self.glyphs.badge.get(self._state, self.glyphs.badge["queued"])
        return [(f"{badge} {self._state}", state_style(self.palette, self._state))]

    def body(self, width: int, height: int) -> list[Strip]:
        palette = self.palette
        rows = [self._bar_row(width)]
        failed = self._view.failed
        if failed is not None and self._state in _FAILED:
            texts = [(failed.what, palette.error), (failed.fix, palette.text), (failed.why, palette.quiet)]
            told = [row([(clean(text), style)], width, palette.text) for text, style in texts if text]
            return told[:height] if height < 3 else [*rows, *told][:height]
        facts, activity = self._facts(), self._activity()
        if height <= 2 and not activity:
            # There is no third row to tell it in; where it does not fit, the log has it.
            more = [*facts, *(self._joined([("trains", self._trained())], bool(facts)))]
            facts = more if self._view.trainables and parts_width(more) <= width else facts
        rows.append(spread(facts, activity, width, palette.text))
        if height > 2:
            rows.append(self._about_row(width))
        return rows[:height]

    def _bar_row(self, width: int) -> Strip:
        """`step 1,240/2,000 ━━━━╸──── 62%  left 7:22`, or the same for a preparation."""
        palette, view = self.palette, self._view
        preparing = self._state == "preparing" and view.progress is not None
        done, total = view.progress if preparing and view.progress else (view.step, view.total_steps)
        share = min(1.0, done / total) if total > 0 else None
        label = clean(view.phase) if preparing else "step"
        left: list[StyledText] = [(f"{label} ", palette.quiet), (count(done), palette.strong)]
        if total:
            left.append((f"/{count(total)}", palette.quiet))
        right: list[StyledText] = [] if share is None else [(f" {int(share * 100):>3}%", palette.text)]
        if not preparing and self._state not in ENDED:
            left_s = eta_s(view, self._now)
            # Nobody knows how long the files at the end take: no time is better than a false one.
            time_left, word = ("ending", "") if left_s == 0 else (span(left_s), " left")
            right += [(f" {time_left:>8}", palette.strong), (word, palette.quiet)]
        room = width - parts_width(left) - parts_width(right) - 1
        style = state_style(palette, self._state) if self._state in _FAILED else palette.line
        middle = bar(share, room, self.glyphs, style, palette.faint)
        return row([*left, (" ", palette.text), *middle, *right], width, palette.text)

    def _facts(self) -> list[StyledText]:
        view = self._view
        facts: list[tuple[str, str]] = []
        seconds = self._elapsed()
        if seconds is not None:
            facts.append(("elapsed", span(seconds)))
        if view.images_per_s is not None and self._state not in ENDED:
            facts.append(("img/s", f"{view.images_per_s:.{1 if view.images_per_s >= 1 else 2}f}"))
        if view.epoch is not None:
            facts.append(("epoch", f"{view.epoch:.1f}"))
        if view.checkpoints:
            facts.append(("saved", f"step {count(view.checkpoints[-1].step)}"))
        if view.skipped_steps:
            facts.append(("skipped", count(view.skipped_steps)))
        if stage := stage_text(self._stages, view.step):
            facts.append(("stage", stage))
        return self._joined(facts)

    def _trained(self) -> str:
        """The modules that train and how many weights of each."""
        return ", ".join(f"{clean(part.module)} {amount(part.parameters)}" for part in self._view.trainables)

    def _joined(self, facts: list[tuple[str, str]], more: bool = False) -> list[StyledText]:
        palette = self.palette
        parts: list[StyledText] = []
        for name, value in facts:
            if parts or more:
                parts.append((f" {self.glyphs.separator} ", palette.faint))
            parts += [(f"{name} ", palette.quiet), (value, palette.text)]
        return parts

    def _activity(self) -> list[StyledText]:
        """What the run does or why it does nothing, in a few words."""
        palette, view = self.palette, self._view
        if self._state == "stalled" and view.last_event_at is not None:
            return [(f"no sign of life for {span(self._now - view.last_event_at)}", palette.warn)]
        if self._state == "paused" and view.paused is not None:
            text = clean(view.paused.text) or f"waits after step {count(view.paused.step)}"
            return [(text, palette.warn)]
        if self._state == "stopped" and view.stopped is not None:
            text = f"stopped after step {count(view.stopped.step)}"
            return [(text + (f": {clean(view.stopped.reason)}" if view.stopped.reason else ""), palette.warn)]
        if self._state == "crashed":
            return [("the engine has gone; resume goes on from the last checkpoint", palette.error)]
        if self._state in ENDED:
            return []
        if self._state == "running" and view.phase == "training":
            # Between two stages pictures are encoded anew, and no step comes.
            done = view.progress
            told = f"{clean(view.progress_text)} {count(done[0])}/{count(done[1])}" if done else ""
            return [(told, palette.accent)] if done and done[0] < done[1] else []
        text = clean(view.progress_text or view.phase_text or view.phase)
        return cut_parts([(text, palette.accent)], max(20, self.inner.width // 2))

    def _about_row(self, width: int) -> Strip:
        view = self._view
        facts: list[tuple[str, str]] = [("device", clean(view.device))] if view.device else []
        if view.trainables:
            facts.append(("trains", self._trained()))
        if view.checkpoints:
            facts.append(("checkpoint", size_text(view.checkpoints[-1].bytes)))
        if view.exports:
            facts.append(("export", clean(view.exports[-1].path)))
        return row(self._joined(facts), width, self.palette.text)

    def _elapsed(self) -> float | None:
        """Seconds since this attempt began; it stands still where the run does."""
        view = self._view
        if view.finished is not None and self._state == "finished":
            return view.finished.seconds
        began = view.attempt_at or view.started_at
        if began is None or view.last_event_at is None:
            return None
        if self._state in ENDED or self._state == "stalled":
            return view.last_event_at - began
        return (view.paused.t if view.paused is not None else self._now) - began
