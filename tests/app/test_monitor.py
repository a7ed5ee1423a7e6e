"""The monitor: what it shows of a run in each state, and what its keys ask of the engine."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.run.control import ControlReader
from engine.run.events import EventWriter
from engine.run.paths import RunDir
from engine.run.view import RunView, fold
from sdtrain_tui.app import SdtrainApp
from sdtrain_tui.screens import panes, starting, watcher
from sdtrain_tui.screens.monitor import MonitorScreen
from sdtrain_tui.screens.verdict import verdict
from sdtrain_tui.screens.watcher import Watcher
from sdtrain_tui.widgets.log_pane import LogPane
from sdtrain_tui.widgets.loss_pane import LossPane
from sdtrain_tui.widgets.news import News
from tests.app.fabricate import alive, begin, emit, run_at, sample, started, steps
from tests.app.seen import wait_for, wait_text

pytestmark = pytest.mark.usefixtures("home")

NAMES = {pane.NAME for pane in panes.PANES}
SIZES = [(80, 24), (120, 36), (200, 60)]


def shown(app: SdtrainApp) -> set[str]:
    """The panes that have a place on the screen."""
    return {pane for pane in NAMES if app.screen.query_one(f"#{pane}").region.area > 0}


def commands(run: RunDir) -> list[str]:
    return [command["cmd"] for command in ControlReader(run.control_file).poll()]


@pytest.mark.parametrize("size", SIZES)
async def test_every_pane_has_its_place_at_each_size(size: tuple[int, int]) -> None:
    run = run_at("cat", 40)
    with EventWriter(run.events_file) as writer:
        sample(run, writer, 40)
    lock = alive(run)
    app = SdtrainApp(start="monitor", run=run)
    async with app.run_test(size=size) as pilot:
        await wait_text(pilot, "step 40/100")
        await wait_for(pilot, lambda: shown(app) == NAMES, "all panes")
        await wait_text(pilot, "running")
        regions = [app.screen.query_one(f"#{pane}").region for pane in NAMES]
        assert all(region.height >= 5 and region.width >= 30 for region in regions), regions
        assert all(a.intersection(b).area == 0 for a in regions for b in regions if a is not b)
        await wait_text(pilot, "q detach")
    lock.release()


async def test_steps_that_the_engine_writes_appear_by_themselves() -> None:
    run = run_at("cat", 40)
    lock = alive(run)
    app = SdtrainApp(start="monitor", run=run)
    async with app.run_test() as pilot:
        await wait_text(pilot, "step 40/100")
        with EventWriter(run.events_file) as writer:
            steps(writer, 41, 55)
        await wait_text(pilot, "step 55/100")
    lock.release()


async def test_the_engines_own_output_is_in_the_log_as_literal_text() -> None:
    run = run_at("cat", 2)
    run.log_file.write_text("[red]markup[/red] \x1b[2Jfrom a library\nprogress 1\rprogress 2\n")
    app = SdtrainApp(start="monitor", run=run)
    async with app.run_test(size=(120, 36)) as pilot:
        seen = await wait_text(pilot, "[red]markup[/red]")
        assert "progress 2" in seen and "\x1b" not in seen


async def test_a_run_without_previews_leaves_their_place_to_the_chart() -> None:
    run = run_at("cat", 5)
    app = SdtrainApp(start="monitor", run=run)
    async with app.run_test() as pilot:
        await wait_text(pilot, "step 5/100")
        await wait_for(pilot, lambda: app.screen.query_one("#loss").region.width == 80, "the whole width")
        with EventWriter(run.events_file) as writer:
            sample(run, writer, 5)
        await wait_for(pilot, lambda: "previews" in shown(app), "the previews")


FAILURE = {
    "what": "CUDA ran out of memory",
    "why": "768 px do not fit into 8 GiB",
    "fix": "lower data.resolution",
}


@pytest.mark.parametrize(
    ("kind", "fields", "wanted"),
    [
        (
            "failed",
            {"error": FAILURE, "state": "out-of-memory"},
            ("out-of-memory", *FAILURE.values(), "step 30"),
        ),
        ("failed", {"error": FAILURE, "state": "disk-full"}, ("disk-full", FAILURE["fix"], "r resume")),
        ("failed", {"error": FAILURE, "state": "failed"}, ("failed", FAILURE["why"])),
        ("stopped", {"step": 40, "reason": "you asked for it"}, ("stopped", "you asked for it", "r goes on")),
        (
            "warning",
            {"text": "odd"},
            ("crashed", "The engine is gone", "r goes on from the checkpoint at step 30"),
        ),
    ],
)
async def test_an_end_is_told_with_what_why_and_what_to_do(
    kind: str, fields: dict[str, object], wanted: tuple[str, ...]
) -> None:
    run = run_at("cat", 40, checkpoint=30)
    emit(run, kind, **fields)
    app = SdtrainApp(start="monitor", run=run)
    async with app.run_test() as pilot:
        for text in wanted:
            await wait_text(pilot, text)


async def test_a_finished_run_shows_its_exported_files_and_offers_no_resume() -> None:
    run = run_at("cat", 100)
    emit(
        run, "exported", format="kohya", path="export/cat.safetensors", bytes=3_200_000, step=100, tensors=256
    )
    emit(run, "finished", step=100, seconds=812.0)
    app = SdtrainApp(start="monitor", run=run)
    async with app.run_test() as pilot:
        seen = await wait_text(pilot, "export/cat.safetensors")
        assert "finished" in seen and "resume" not in seen


async def test_a_run_that_dies_while_it_is_watched_is_seen_as_crashed() -> None:
    run = run_at("cat", 40)
    lock = alive(run)
    app = SdtrainApp(start="monitor", run=run)
    async with app.run_test() as pilot:
        await wait_text(pilot, "running")
        lock.release()
        await wait_text(pilot, "crashed")
        await wait_text(pilot, "r resume")


async def test_keys_ask_the_engine_through_the_control_file() -> None:
    run = run_at("cat", 40)
    lock = alive(run)
    app = SdtrainApp(start="monitor", run=run)
    async with app.run_test() as pilot:
        await wait_text(pilot, "running")
        await pilot.press("c", "g", "p")
        await wait_text(pilot, "asked to pause")
        emit(run, "paused", step=40)
        await wait_text(pilot, "paused")
        await pilot.press("p", "s")
        await wait_text(pilot, "stop cat?")
        await pilot.press("enter")
        await wait_for(pilot, lambda: len(commands(run)) == 5, "five commands")
    assert commands(run) == ["save", "sample", "pause", "resume", "stop"]
    lock.release()


async def test_keys_on_a_dead_run_write_nothing_and_say_why() -> None:
    run = run_at("cat", 40)
    app = SdtrainApp(start="monitor", run=run)
    async with app.run_test() as pilot:
        await wait_text(pilot, "crashed")
        await pilot.press("c")
        await wait_text(pilot, "r resumes it")
    assert not run.control_file.exists()


async def test_r_starts_the_engine_of_a_dead_run_once(monkeypatch: pytest.MonkeyPatch) -> None:
    launched: list[RunDir] = []
    monkeypatch.setattr(starting, "launch", launched.append)
    run = run_at("cat", 40)
    app = SdtrainApp(start="monitor", run=run)
    async with app.run_test() as pilot:
        await wait_text(pilot, "crashed")
        await pilot.press("r")
        await wait_for(pilot, lambda: launched == [run], "the launch")


async def test_q_detaches_and_says_how_to_come_back() -> None:
    run = run_at("cat", 40)
    lock = alive(run)
    app = SdtrainApp(start="monitor", run=run)
    async with app.run_test() as pilot:
        await wait_text(pilot, "running")
        await pilot.press("q")
        await wait_for(pilot, lambda: app.return_value == 0, "the end")
    assert app._farewell == "cat goes on. Come back with: sdtrain attach cat"
    assert not run.control_file.exists()
    lock.release()


async def test_a_pane_fills_the_screen_and_escape_steps_out_level_by_level() -> None:
    run = run_at("cat", 40)
    app = SdtrainApp(start="monitor", run=run)
    async with app.run_test() as pilot:
        await wait_text(pilot, "step 40/100")
        await pilot.press("4")
        assert isinstance(app.focused, LogPane) and shown(app) != {"log"}
        await pilot.press("4")
        await wait_for(pilot, lambda: shown(app) == {"log"}, "the log alone")
        await pilot.press("1")
        await wait_for(
            pilot, lambda: shown(app) == {"loss"} and isinstance(app.focused, LossPane), "the chart alone"
        )
        await pilot.press("escape")
        await wait_for(pilot, lambda: {"loss", "log"} <= shown(app), "all panes")
        assert isinstance(app.focused, LossPane)
        await pilot.press("escape")
        await wait_for(pilot, lambda: app.focused is None, "no focus")
        assert app.return_value is None
        await pilot.press("escape")
        await wait_for(pilot, lambda: app.return_value == 0, "the end")


async def test_the_stop_key_stops_also_while_the_chart_has_the_focus() -> None:
    run = run_at("cat", 40)
    lock = alive(run)
    app = SdtrainApp(start="monitor", run=run)
    async with app.run_test() as pilot:
        await wait_text(pilot, "running")
        await pilot.press("1", "s")
        await wait_text(pilot, "stop cat?")
    lock.release()


async def test_a_hostile_event_is_text_and_never_markup() -> None:
    run = run_at("cat", 5)
    emit(run, "warning", text="[bold]\x1b]52;c;AAAA\x07 ‮ evil [/x]")
    app = SdtrainApp(start="monitor", run=run)
    async with app.run_test(size=(120, 36)) as pilot:
        seen = await wait_text(pilot, "[bold]")
        assert "\x1b" not in seen and "‮" not in seen and "[/x]" in seen


def test_the_watcher_tells_only_what_changed() -> None:
    run = run_at("cat", 5)
    told: list[News] = []
    follower = Watcher(run, told.append)
    follower._follower.catch_up()
    follower._report()
    follower._report()
    assert [news.state for news in told] == ["crashed"]
    emit(run, "finished", step=5, seconds=1.0)
    follower._report()
    assert [news.state for news in told] == ["crashed", "finished"]


def test_a_long_run_shows_its_end_before_all_of_it_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    run = begin("long", 5000)
    with EventWriter(run.events_file) as writer:
        started(writer, "long", 5000)
        steps(writer, 1, 5000)
    monkeypatch.setattr(watcher, "LONG", 1000)
    told: list[News] = []
    follower = Watcher(run, told.append)
    follower._show_end_first()
    assert len(told) == 1
    first = told[0].view
    assert first.step == 5000 and first.name == "long" and len(first.steps) < 5000
    follower._follower.catch_up()
    follower._report()
    assert len(told[1].view.steps) == 5000


def test_a_verdict_stays_silent_while_the_run_goes_on() -> None:
    assert verdict(RunView(), "running") == [] and verdict(fold([]), "preparing") == []


async def test_a_run_that_only_has_its_plan_is_shown_under_its_own_name() -> None:
    run = begin("waiting")
    app = SdtrainApp(start="monitor", run=run)
    async with app.run_test() as pilot:
        await wait_text(pilot, "waiting")
        await wait_text(pilot, "queued")
        assert isinstance(app.screen, MonitorScreen)


async def test_a_replaced_events_file_is_read_anew(tmp_path: Path) -> None:
    run = run_at("cat", 40)
    app = SdtrainApp(start="monitor", run=run)
    async with app.run_test() as pilot:
        await wait_text(pilot, "step 40/100")
        run.events_file.unlink()
        with EventWriter(run.events_file) as writer:
            started(writer, "cat", 100)
            steps(writer, 1, 7)
        await wait_text(pilot, "step 7/100")
