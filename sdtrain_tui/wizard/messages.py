"""What the pages of the wizard tell the screen around them."""

from __future__ import annotations

from textual.message import Message


class Answered(Message):
    """The user gave a field a value, or took it back (value none)."""

    def __init__(self, key: str, value: object | None) -> None:
        super().__init__()
        self.key = key
        self.value = value


class Settled(Message):
    """The user has left a field: what stands there is meant."""

    def __init__(self, key: str) -> None:
        super().__init__()
        self.key = key


class GoNext(Message):
    """The step is done: a choice was made with Enter."""


class Jump(Message):
    """Go to the field that a problem names."""

    def __init__(self, key: str) -> None:
        super().__init__()
        self.key = key


class StartRun(Message):
    """Make the run and start it."""


class Save(Message):
    """Write the plan to a file."""
