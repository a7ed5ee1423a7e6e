"""Step 6: where it runs, and what that costs in memory, disk and time."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from textual import on
from textual.app import ComposeResult
from textual.timer import Timer

from engine.plan.units import duration, size_text
from sdtrain_tui.background import in_background
from sdtrain_tui.wizard.card_facts import machine_facts
from sdtrain_tui.wizard.counting import Counting
from sdtrain_tui.wizard.draft import Draft
from sdtrain_tui.wizard.facts_view import Fact, FactLines
from sdtrain_tui.wizard.field_row import FieldRow
from sdtrain_tui.wizard.more_fields import MoreFields
from sdtrain_tui.wizard.step import Step, full_label

if TYPE_CHECKING:
    from engine.cost.estimate import Estimate
    from engine.cost.machine import Gpu, Machine
    from engine.plan.schema import Plan
    from engine.planning.build import Facts
    from engine.planning.card_fits import CardFit


LOOK_S = 2.0
"""Seconds between two looks at what is free."""
LEAST_MOVED = 64 << 20
"""Bytes of free memory that make a difference."""
COUNTING = "a step of this plan is being counted; the figures follow in some seconds"
# Asked for where much of the model trains: a LoRA's weights and gradients are little beside its base.
OF_LARGE = ("train.weights", "hardware.fused_backward")
FIRST = ("hardware.device", "train.precision", "hardware.gradient_checkpointing", "checkpoints.every")
AFTER = ("checkpoints.keep", "output.formats", "output.dtype", "output.file_name")
TABLES = ("hardware", "checkpoints", "output")
LABELS = {
    "hardware.gradient_checkpointing": "grad. checkpointing",
    "checkpoints.every": "save every",
    "train.weights": "weights kept in",
    "checkpoints.keep": "checkpoints kept",
    "output.dtype": "exported as",
    "output.formats": "export formats",
}


class HardwareStep(Step):
    """The cards that are here, precision and thrift, and the forecast part by part."""

    NAME = "hardware"
    LEAD = "Where does it run, and does it fit? The forecast follows every change."
    KEYS = ("hardware.device", "train.precision", "hardware.gradient_checkpointing")
    PREFIXES = ("hardware", "checkpoints", "output", "train.precision", "train.weights")

    _due: Timer | None = None
    _here: Machine | None = None
    _fits: Sequence[CardFit] = ()
    _looking = False
    _for: Plan | None = None
    _much: bool = True

    def __init__(self, draft: Draft) -> None:
        super().__init__(draft)
        self._counting = Counting(self)

    def content(self) -> ComposeResult:
        yield FactLines(id="machine-facts")
        yield from self.rows(FIRST, LABELS)
        yield FactLines(id="forecast")
        yield from self.rows((*OF_LARGE, *AFTER), LABELS)
        yield MoreFields(self._rest, self._more, id="more-hardware")

    def _rest(self) -> list[str]:
        shown = {*FIRST, *AFTER, *OF_LARGE}
        return [key for key in self.draft.fields() if key not in shown and key.split(".")[0] in TABLES]

    def _more(self, keys: list[str]) -> Iterable[FieldRow]:
        fields = self.draft.fields()
        return self.rows(keys, {key: full_label(fields[key]) for key in keys})

    def _fitted(self) -> list[Fact]:
        """What the plan gives up so that it fits, each with what it takes then and its price."""
        from engine.planning.ladder import told

        choices = told(self.draft.built.derived) if self.draft.built else []
        return [("made to fit by" if not i else "", "text", choice) for i, choice in enumerate(choices)]

    @on(MoreFields.Toggled)
    def _toggled(self, event: MoreFields.Toggled) -> None:
        event.stop()
        self._show_what_matters()

    def on_mount(self) -> None:
        self._look()
        self.set_interval(LOOK_S, self._look_again)

    def _look_again(self) -> None:
        if self.display and not self._looking:
            self._look()

    def _look(self) -> None:
        self._looking = True
        in_background(self, this_machine, self._seen)

    def _seen(self, found: Machine) -> None:
        self._looking = False
        if self._here is None or any(
            _moved(*pair) for pair in zip(self._here.gpus, found.gpus, strict=False)
        ):
            self._here = found
            self._show_machine(found, self._fits)
            self._weigh()

    def _show_machine(self, found: Machine, fits: Sequence[CardFit]) -> None:
        self.query_one("#machine-facts", FactLines).show(machine_facts(found, fits))

    def _weigh(self) -> None:
        """What fits each card, in the background: for the present plan and what is free now."""
        plan, facts, here = self._for, self.draft.facts, self._here
        if not self.display or plan is None or facts is None or here is None or not here.gpus:
            return

        def shown(fits: Sequence[CardFit]) -> None:
            if plan == self._for and here is self._here:
                self._fits = fits
                self._show_machine(here, fits)

        in_background(self, lambda: fits_of(plan, facts, here), shown)

    def show(self) -> None:
        super().show()
        self._show_what_matters()
        plan = self.draft.built.plan if self.draft.built else None
        forecast = self.query_one("#forecast", FactLines)
        if plan is None:
            forecast.show([("forecast", "quiet", "comes when a base model and pictures are chosen")])
        elif plan != self._for:
            self._for = plan
            self._fits = ()
            if self._due is not None:
                self._due.stop()
            self._due = self.set_timer(0.2, self._forecast)

    def _forecast(self) -> None:
        plan, facts = self._for, self.draft.facts
        if plan is not None and facts is not None:
            in_background(
                self,
                lambda: (forecast_of(plan, facts), trains_much(plan, facts)),
                lambda found: self._show_forecast(plan, *found),
            )
            self._weigh()

    def _show_forecast(self, plan: Plan, forecast: Estimate, much: bool) -> None:
        if plan == self._for:
            counting = (
                self.display and forecast.traced == "likest" and self._counting.begin(plan, self._recount)
            )
            note: list[Fact] = [("", "quiet", COUNTING)] if counting else []
            self.query_one("#forecast", FactLines).show([*self._fitted(), *forecast_facts(forecast), *note])
            self._much = much
            self._show_what_matters()

    def visited(self) -> None:
        super().visited()
        self._forecast()

    def _recount(self) -> None:
        """What was scaled is counted now."""
        self._forecast()

    def _show_what_matters(self) -> None:
        wanted = self._much or self.query_one(MoreFields).shown
        for row in self.query(FieldRow):
            if row.field.key in OF_LARGE:
                row.display = wanted or row.field.key in self.draft.answers


def this_machine() -> Machine:
    """GPUs, processor and memory, and what is free now; asking the driver takes a moment."""
    from engine.cost.machine import machine_now

    return machine_now()


def _moved(before: Gpu, now: Gpu) -> bool:
    return before.uuid != now.uuid or abs(before.memory_free - now.memory_free) >= LEAST_MOVED


def fits_of(plan: Plan, facts: Facts, here: Machine) -> Sequence[CardFit]:
    """The plan on each card."""
    from engine.planning.card_fits import card_fits

    return card_fits(plan, facts, here)


def forecast_of(plan: Plan, facts: Facts) -> Estimate:
    """Memory, disk and time; it reads headers and earlier runs."""
    from engine.cost.estimate import estimate

    return estimate(plan, facts.base, facts.report, facts.machine)


def trains_much(plan: Plan, facts: Facts) -> bool:
    """Is what trains large beside the denoiser?"""
    from engine.cost.model_size import ModelSize

    return ModelSize(plan, facts.base).trains_much


def forecast_facts(forecast: Estimate) -> list[Fact]:
    """What it costs in three rows, then memory and disk part by part with their share, then the notes."""
    memory = "memory" if forecast.device == "cpu" else "VRAM"
    there, free = forecast.vram_available, forecast.disk_free
    fits = there is None or forecast.vram_total <= there * 0.95
    room = all(disk.free is None or disk.total < disk.free for disk in forecast.disks)
    time = f"about {duration(forecast.seconds)}: " if forecast.seconds else ""
    rows: list[Fact] = [
        _total(memory, forecast.vram_total, there, "there", fits),
        _total("disk", forecast.disk_total, free, "free", room),
        ("time", "strong" if forecast.seconds else "text", time + forecast.seconds_why),
        ("", "text", ""),
    ]
    for title, parts, total in (
        (f"{memory} by part", forecast.vram_parts, forecast.vram_total),
        ("disk by part", forecast.disk_parts, forecast.disk_total),
    ):
        rows += [(title if not i else "", "quiet", _part(*part, total)) for i, part in enumerate(parts)]
    return rows + [("note" if not i else "", "quiet", text) for i, text in enumerate(forecast.notes)]


def _total(name: str, size: int, limit: int | None, what: str, fits: bool) -> Fact:
    of = f" of {size_text(limit)} {what}" if limit is not None else ""
    return name, "strong" if fits else "error", f"{size_text(size)}{of}{'' if fits else ': not enough'}"


def _part(name: str, size: int, total: int) -> str:
    filled = round(12 * size / total) if total else 0
    return f"{size_text(size):>10}  {'━' * filled}{'─' * (12 - filled)}  {name}"
