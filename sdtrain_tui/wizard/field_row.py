"""One plan field as a row: label, control, and where its value comes from. Everything else is its declaration."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from textual import on
from textual.app import ComposeResult
from textual.strip import Strip
from textual.widgets import Input

from engine.plan.files import path_keys
from engine.plan.methods import METHODS
from sdtrain_tui.widgets.cells import StyledText, clean, cut, row
from sdtrain_tui.widgets.diff_lines import DiffedLines
from sdtrain_tui.wizard.controls import Choice, PathInput, TextInput
from sdtrain_tui.wizard.messages import Answered, Settled

if TYPE_CHECKING:
    from engine.plan.fields import PlanField
    from engine.plan.problems import Problem

LABEL_WIDTH = 22
CONTROL_WIDTH = 17
ON_OFF = ("off", "on")


def show_value(value: object) -> str:
    """A plan value as a form shows it."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return ON_OFF[value]
    if isinstance(value, float):
        mantissa, exponent = f"{value:.6e}".split("e")
        small = 0 < abs(value) < 0.01
        return f"{mantissa.rstrip('0').rstrip('.')}e{int(exponent)}" if small else f"{value:.12g}"
    if isinstance(value, list | tuple):
        texts = [show_value(item) for item in value]
        return str(list(value)) if any("," in text for text in texts) else ", ".join(texts)
    return str(value)


def is_text(field: PlanField) -> bool:
    """Is it written in words, names or a list, so that it takes the whole row?"""
    free = field.kind == "str" and not field.default and not field.choices
    return free or field.kind == "list"


class Answers(Protocol):
    """What a row asks: the draft, or a part of it such as one of several sets."""

    answers: dict[str, object]

    @property
    def method(self) -> str: ...

    def idle(self) -> frozenset[str]: ...

    def automatic(self, key: str, default: object) -> object: ...

    def note(self, key: str) -> tuple[str, bool]: ...

    def trouble(self, field: PlanField) -> Problem | None: ...


class FieldRow(DiffedLines):
    """The control shows the user's value; where there is none, the derived one shows through in grey."""

    DEFAULT_CSS = f"""
    FieldRow {{ height: 1; width: 1fr; layout: horizontal; }}
    FieldRow > TextInput, FieldRow > Choice {{ margin-left: {LABEL_WIDTH}; width: {CONTROL_WIDTH}; height: 1; }}
    FieldRow.-wide > TextInput {{ width: 1fr; }}
    """

    def __init__(self, field: PlanField, draft: Answers, label: str) -> None:
        wide = is_text(field)
        super().__init__(id="field-" + field.key.replace(".", "-"), classes="-wide" if wide else None)
        self.field = field
        self._draft = draft
        self.label = label
        self._wide = wide

    def compose(self) -> ComposeResult:
        given = self._draft.answers.get(self.field.key)
        automatic = self._automatic()
        if self.field.kind == "bool" or self.field.choices:
            values = self.field.choices or ON_OFF
            yield Choice(values, automatic, None if given is None else show_value(given))
        elif self.field.key in path_keys(self._draft.method) or self.field.key.endswith(".path"):
            files = endings_of(self.field.key)
            yield PathInput("" if given is None else show_value(given), automatic, files=files)
        else:
            yield TextInput("" if given is None else show_value(given), automatic)

    def on_mount(self) -> None:
        self._hide_idle()

    def _hide_idle(self) -> None:
        key = self.field.key
        self.display = key in self._draft.answers or key not in self._draft.idle()

    def refresh_from_draft(self) -> None:
        """Derived value, reason and error as they are now; hidden where it has no effect and was not answered."""
        self._hide_idle()
        automatic = self._automatic()
        for choice in self.query(Choice):
            choice.set_automatic(automatic)
        for text in self.query(TextInput):
            if text.placeholder != automatic:
                text.placeholder = automatic
        self.redraw()

    def _automatic(self) -> str:
        """The value that counts where the user gives none; a field without one says what it wants."""
        value = self._draft.automatic(self.field.key, self.field.default)
        empty = value is None or value in ("", [])
        return self.field.help if empty and (self.field.required or self._wide) else show_value(value)

    def lines(self, width: int, height: int) -> list[Strip]:
        palette = self.palette
        focused = self.has_focus_within
        problem = self._draft.trouble(self.field)
        label = cut(self.label, LABEL_WIDTH - 3).ljust(LABEL_WIDTH - 2)
        mark = "  " if not focused else "> " if self.glyphs.chart == "ascii" else "▸ "
        style = palette.strong if focused else palette.text
        wrong = None if problem is None else palette.error if problem.level == "error" else palette.warn
        if self._wide:
            # There is no room for words: the label shows that something is wrong, the explanation says what.
            return [row([(mark, palette.accent), (label, wrong or style)], width, palette.text)]
        parts: list[StyledText] = [(mark, palette.accent), (label, style)]
        unit = f"{cut(self.field.unit, 5)}  " if self.field.unit else ""
        parts += [(" " * (CONTROL_WIDTH + 1), palette.text), (unit, palette.quiet)]
        if problem is not None and wrong is not None:
            parts.append((clean(f"{problem.what}: {problem.why}" if problem.why else problem.what), wrong))
        else:
            note, mine = self._draft.note(self.field.key)
            parts.append((clean(note), palette.accent if mine else palette.quiet))
        return [row(parts, width, palette.text)]

    def on_descendant_focus(self) -> None:
        self.redraw()

    def on_descendant_blur(self) -> None:
        self.redraw()
        self.post_message(Settled(self.field.key))

    @on(Input.Changed)
    def _typed(self, event: Input.Changed) -> None:
        event.stop()
        self.post_message(Answered(self.field.key, self._parsed(event.value)))

    @on(Choice.Changed)
    def _chosen(self, event: Choice.Changed) -> None:
        event.stop()
        value: object | None = event.value
        if self.field.kind == "bool" and event.value is not None:
            value = event.value == "on"
        elif self.field.kind == "int" and event.value is not None:
            value = int(event.value)
        self.post_message(Answered(self.field.key, value))

    def _parsed(self, text: str) -> object | None:
        from engine.plan.overrides import parse_value

        text = text.strip()
        if not text:
            return None
        if self.field.kind == "list":
            return self._list(text)
        return text if self.field.kind == "str" else parse_value(text, self.field.kind)

    def _list(self, text: str) -> object:
        """A list as TOML has it, or as people write one: parts with commas between them."""
        from engine.plan.overrides import parse_value
        from sdtrain_tui.wizard.draft import validate

        if "," not in text or text[0] in "[\"'":
            return parse_value(text, "list")
        numbers = parse_value(f"[{text}]")
        if isinstance(numbers, list):
            # Block weights are numbers in one text: what is no list of numbers here is such a text.
            return [text] if validate(self.field.key, numbers) else numbers
        return [part.strip() for part in text.split(",") if part.strip()]


ENDINGS: dict[str, tuple[str, ...]] = {
    "base.model": (".safetensors", ".ckpt"),
    "base.vae": (".safetensors", ".ckpt", ".pt"),
    "data.path": (".tar", ".toml", ".json"),
}
"""Files that may be named beside folders."""


def endings_of(key: str) -> tuple[str, ...]:
    """Endings of the files that a path field takes; none where it takes folders alone."""
    table, _, name = key.partition(".")
    own = METHODS[table].options.path_endings if table in METHODS else {}
    of_set = ENDINGS["data.path"] if key.startswith("data.sets.") else ()
    return own.get(name) or ENDINGS.get(key, of_set)
