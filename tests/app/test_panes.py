"""A pane is its class and one line of the registry: everything else of the monitor follows from it."""

from __future__ import annotations

import sys

import pytest
from textual.strip import Strip

from engine.run.events import EventWriter
from sdtrain_tui.app import SdtrainApp
from sdtrain_tui.screens import panes
from sdtrain_tui.widgets.cells import row
from sdtrain_tui.widgets.monitor_pane import MonitorPane
from sdtrain_tui.widgets.news import News
from tests.app.fabricate import run_at, steps
from tests.app.seen import wait_for, wait_text

pytestmark = pytest.mark.usefixtures("home")


class StepCounter(MonitorPane):
    """A throw-away pane: how many steps there are, once there are more than forty."""

    NAME = "counter"
    TITLE = "Step counter"
    KEY = "k"
    SIDE = "facts"
    HELP = "no keys of its own"
    DEFAULT_CSS = "#facts StepCounter { height: 3; }"

    def wanted(self, news: News) -> bool:
        return news.view.step > 40

    def body(self, width: int, height: int) -> list[Strip]:
        text = f"{self.news.view.step} steps counted, {self.news.machine.host.at > 0} machine"
        return [row([(text, self.palette.text)], width, self.palette.text)]


@pytest.fixture
def one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """The registry with one line more, before the monitor is first imported."""
    from sdtrain_tui import screens

    monkeypatch.setattr(panes, "PANES", (*panes.PANES, StepCounter))
    monkeypatch.setattr(screens, "monitor", None, raising=False)
    monkeypatch.delitem(sys.modules, "sdtrain_tui.screens.monitor", raising=False)


@pytest.mark.usefixtures("one_line")
@pytest.mark.parametrize("key", ["5", "k"])
async def test_a_pane_of_one_line_is_placed_fed_zoomed_and_explained(key: str) -> None:
    run = run_at("cat", 40)
    app = SdtrainApp(start="monitor", run=run)
    async with app.run_test(size=(120, 36)) as pilot:
        await wait_text(pilot, "step 40/100")
        pane = app.screen.query_one(StepCounter)
        assert pane.region.area == 0, "it does not want to be shown yet"
        await wait_text(pilot, "1-5 panes")
        with EventWriter(run.events_file) as writer:
            steps(writer, 41, 55)
        await wait_text(pilot, "55 steps counted, True machine")
        assert pane.region.height == 3
        await pilot.press(key)
        assert app.focused is pane
        await pilot.press(key)
        await wait_for(pilot, lambda: pane.region.height > 20, "the whole screen")
        assert [other.NAME for other in app.screen.query(MonitorPane) if other.region.area] == ["counter"]
        titles = {command.title for command in app.get_system_commands(app.screen)}
        assert {"Step counter", "Loss chart"} <= titles
        await pilot.press("question_mark")
        seen = await wait_text(pilot, "no keys of its own")
        assert "1 2 3 4 5" in seen and "loss, previews, machine, log, counter" in " ".join(seen.split())


def test_names_and_keys_of_panes_are_their_own() -> None:
    names = [pane.NAME for pane in panes.PANES]
    keys = [key for binding in panes.bindings() for key in binding.key.split(",")]
    assert len(set(names)) == len(names) and len(set(keys)) == len(keys)
