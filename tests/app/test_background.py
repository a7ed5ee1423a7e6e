"""Work beside the screen: its result arrives, and it never holds up the end."""

from __future__ import annotations

import threading

import pytest

from sdtrain_tui.app import SdtrainApp
from sdtrain_tui.background import in_background
from tests.app.seen import wait_for

pytestmark = pytest.mark.usefixtures("home")


async def test_the_result_arrives_in_the_apps_own_thread() -> None:
    app = SdtrainApp()
    got: list[tuple[int, int]] = []
    async with app.run_test() as pilot:
        in_background(app.screen, lambda: 7, lambda value: got.append((value, threading.get_ident())))
        await wait_for(pilot, lambda: bool(got), "the result")
    assert got == [(7, threading.get_ident())]


async def test_a_result_for_a_screen_that_is_gone_is_dropped() -> None:
    app = SdtrainApp()
    gate, got = threading.Event(), threading.Event()

    def slow() -> int:
        gate.wait(30)
        return 1

    async with app.run_test() as pilot:
        await pilot.press("n")
        await wait_for(pilot, lambda: len(app.screen_stack) == 2, "the wizard")
        in_background(app.screen, slow, lambda _value: got.set())
        await pilot.press("escape")
        await wait_for(pilot, lambda: len(app.screen_stack) == 1, "home")
        gate.set()
        await pilot.pause(0.1)
    assert not got.is_set()


async def test_the_app_leaves_while_work_goes_on() -> None:
    app = SdtrainApp()
    gate = threading.Event()
    async with app.run_test():
        in_background(app.screen, lambda: gate.wait(60), lambda _value: None)
    working = [thread for thread in threading.enumerate() if thread.name == "sdtrain-background"]
    assert working and all(thread.daemon for thread in working)
    gate.set()
