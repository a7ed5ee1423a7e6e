"""What a person would see: the text of a headless app's screen, and waiting for it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from textual import events
from textual.keys import _character_to_key
from textual.pilot import Pilot

from sdtrain_tui.app import SdtrainApp


def text_of(app: SdtrainApp) -> str:
    """All rows of the screen in front, as text."""
    screen = app.screen
    return "\n".join(
        "".join(segment.text for segment in strip) for strip in screen._compositor.render_strips()
    )


async def wait_for(
    pilot: Pilot[Any], condition: Callable[[], bool], what: str, seconds: float = 30.0
) -> None:
    """Let the app go on until it holds; fails after a deadline with the screen."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"waited {seconds:.0f} s for {what}:\n{text_of_pilot(pilot)}"
        await pilot.pause(0.02)


def text_of_pilot(pilot: Pilot[Any]) -> str:
    app = pilot.app
    assert isinstance(app, SdtrainApp)
    return text_of(app)


def unwrapped(text: str) -> str:
    """A screen's words without line breaks and frames: where a line breaks depends on how long paths are."""
    return " ".join(text.translate(_FRAMES).split())


_FRAMES = str.maketrans("│─╭╮╰╯", "      ")


async def wait_text(pilot: Pilot[Any], wanted: str, seconds: float = 30.0) -> str:
    """Wait until the text is on the screen, in one line or wrapped, and give the screen."""

    def there() -> bool:
        seen = text_of_pilot(pilot)
        return wanted in seen or wanted in unwrapped(seen)

    await wait_for(pilot, there, repr(wanted), seconds)
    return text_of_pilot(pilot)


async def type_text(pilot: Pilot[Any], text: str) -> None:
    """Press the keys of a text, as fast as a terminal sends them."""
    for char in text:
        pilot.app.post_message(events.Key(_character_to_key(char), char))
    await pilot.pause()
