"""Keys reach a screen one after the other, each when what the one before set off is done.

A terminal hands over what was typed quickly, pasted or sent by a program in one piece. Without this the second key
would go to the screen that the first one is about to leave, or to one whose page is not there yet.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from textual import events

if TYPE_CHECKING:
    from textual.app import App
    from textual.message_pump import MessagePump

Typed = events.Key | events.Paste
LOOK_AGAIN = 0.01
"""Seconds between two looks at a page that is not there yet, and at a node that may have gone."""
ROUNDS = 12
"""Messages set off messages: a choice in a list goes to its page, and from there to the screen. Those that set
off each other without end are not waited for."""


class Keyboard:
    """What was typed and not given to a screen yet. A screen that is not ready has `ready` false."""

    def __init__(self, app: App[Any], give: Callable[[Typed], Awaitable[None]]) -> None:
        self._app = app
        self._give = give
        self._typed: deque[Typed] = deque()
        self._task: asyncio.Task[None] | None = None
        self._begun = False

    def take(self, event: Typed) -> None:
        """A key or a paste, to be given to the screen when its turn comes."""
        if not self._begun and isinstance(event, events.Key) and event.key == "ctrl+j":
            # Typed before the terminal was the app's: the shell's settings made a line end of Enter.
            event = events.Key("enter", "\r")
        self._typed.append(event)
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._hand_over(), name="keyboard")

    async def _hand_over(self) -> None:
        try:
            while self._typed and self._app.is_running:
                await self._ready()
                self._begun = True
                await self._give(self._typed.popleft())
                await self._settled()
        except Exception as error:  # noqa: BLE001  (as in any handler of the app's, which shows the bug and leaves)
            self._app._handle_exception(error)

    async def _ready(self) -> None:
        while self._app.is_running and not (
            self._app.screen_stack and getattr(self._app.screen, "ready", True)
        ):
            await asyncio.sleep(LOOK_AGAIN)

    async def _settled(self) -> None:
        """Everything that the key set off on its way from the focus to the app has been done."""
        for _ in range(ROUNDS):
            way = self._way()
            for node in way:
                await self._passed(node)
            if self._way() == way and not any(node.message_queue_size for node in way):
                return

    def _way(self) -> list[MessagePump]:
        app = self._app
        if not app.screen_stack:
            return [app]
        return list((app.focused or app.screen).ancestors_with_self)

    async def _passed(self, node: MessagePump) -> None:
        """The node has done all that was in its queue, or has gone."""
        done = asyncio.Event()
        if not node.call_later(done.set):
            return
        while node.is_running and not done.is_set():
            try:
                await asyncio.wait_for(done.wait(), LOOK_AGAIN)
            except TimeoutError:
                continue
