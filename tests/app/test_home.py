"""Home: what it shows of the runs, and what its keys do."""

from __future__ import annotations

from pathlib import Path

import pytest
from textual.geometry import Region

from engine.run.control import ControlReader
from engine.run.listing import RunSummary, summary
from engine.run.paths import RunDir
from sdtrain_tui.app import SdtrainApp
from sdtrain_tui.screens.doctor import DoctorScreen
from sdtrain_tui.screens.home import HomeScreen
from sdtrain_tui.screens.monitor import MonitorScreen
from sdtrain_tui.screens.run_list import RunList
from sdtrain_tui.screens.run_table import ago
from sdtrain_tui.screens.wizard import WizardScreen
from tests.app.fabricate import alive, begin, emit, run_at
from tests.app.seen import text_of, type_text, wait_for, wait_text

pytestmark = pytest.mark.usefixtures("home")


async def test_a_newcomer_is_told_what_to_do() -> None:
    app = SdtrainApp()
    async with app.run_test() as pilot:
        seen = await wait_text(pilot, "No runs yet")
        assert "n  " in seen and "sdtrain demo" in seen


async def test_every_run_has_a_row_with_state_step_and_loss() -> None:
    run_at("cat", 40)
    done = run_at("style", 100)
    emit(done, "finished", step=100, seconds=12.0)
    app = SdtrainApp()
    async with app.run_test() as pilot:
        await wait_text(pilot, "style")
        rows = text_of(app).splitlines()
        cat = next(row for row in rows if " cat " in row)
        assert "crashed" in cat and "40/100" in cat and "0.157" in cat
        assert "finished" in next(row for row in rows if " style " in row)


async def test_a_new_step_of_a_live_run_appears_by_itself() -> None:
    run = run_at("cat", 40)
    lock = alive(run)
    app = SdtrainApp()
    async with app.run_test() as pilot:
        await wait_text(pilot, "40/100")
        emit(run, "step", step=41, loss=0.1, lr=1e-4, grad_norm=0.1, images_per_s=1.0)
        await wait_text(pilot, "41/100")
        lock.release()
        await wait_text(pilot, "crashed")


async def test_enter_opens_the_monitor_and_q_comes_back() -> None:
    run_at("cat", 40)
    app = SdtrainApp()
    async with app.run_test() as pilot:
        await wait_text(pilot, "40/100")
        await pilot.press("enter")
        await wait_for(pilot, lambda: isinstance(app.screen, MonitorScreen), "the monitor")
        await pilot.press("q")
        await wait_for(pilot, lambda: isinstance(app.screen, HomeScreen), "home")


async def test_the_cursor_stays_on_its_run_when_the_order_changes() -> None:
    first, second = run_at("first", 10), run_at("second", 20)
    emit(second, "stopped", step=20, reason="")
    app = SdtrainApp()
    async with app.run_test() as pilot:
        await wait_text(pilot, "▸ ■ stopped")
        await pilot.press("down")
        await wait_text(pilot, "▸ ✗ crashed")
        emit(first, "warning", text="something new")
        await wait_for(
            pilot, lambda: text_of(app).index("first") < text_of(app).index("second"), "the new order"
        )
        assert next(row for row in text_of(app).splitlines() if " first " in row).startswith("│ ▸ ✗ crashed")


async def test_stop_asks_first_and_then_writes_one_command() -> None:
    run = run_at("cat", 40)
    lock = alive(run)
    app = SdtrainApp()
    async with app.run_test() as pilot:
        await wait_text(pilot, "running")
        await pilot.press("s")
        await wait_text(pilot, "stop cat?")
        await pilot.press("n")
        assert not run.control_file.exists()
        await pilot.press("s")
        await wait_text(pilot, "stop cat?")
        await pilot.press("y")
        await wait_for(pilot, run.control_file.exists, "the command")
    assert [command["cmd"] for command in ControlReader(run.control_file).poll()] == ["stop"]
    lock.release()


async def test_stop_on_a_run_that_is_over_says_so_and_writes_nothing() -> None:
    run = run_at("cat", 40)
    app = SdtrainApp()
    async with app.run_test() as pilot:
        await wait_text(pilot, "crashed")
        await pilot.press("s")
        await wait_text(pilot, "cat is crashed")
    assert not run.control_file.exists()


async def test_p_pauses_a_running_run_and_lets_a_paused_one_go_on() -> None:
    run = run_at("cat", 40)
    lock = alive(run)
    app = SdtrainApp()
    async with app.run_test() as pilot:
        await wait_text(pilot, "running")
        await pilot.press("p")
        emit(run, "paused", step=40)
        await wait_text(pilot, "go on")
        await pilot.press("p")
        await pilot.pause()
    assert [command["cmd"] for command in ControlReader(run.control_file).poll()] == ["pause", "resume"]
    lock.release()


async def test_n_opens_the_wizard_and_escape_leaves_it() -> None:
    app = SdtrainApp()
    async with app.run_test() as pilot:
        await wait_text(pilot, "No runs yet")
        await pilot.press("n")
        await wait_for(pilot, lambda: isinstance(app.screen, WizardScreen), "the wizard")
        await wait_text(pilot, "What do you want to train?")
        await pilot.press("escape")
        await wait_for(pilot, lambda: isinstance(app.screen, HomeScreen), "home")


async def test_the_doctor_reports_on_a_folder(pictures: Path) -> None:
    app = SdtrainApp()
    async with app.run_test(size=(120, 36)) as pilot:
        await wait_text(pilot, "No runs yet")
        await pilot.press("d")
        await wait_text(pilot, "dataset doctor")
        await type_text(pilot, str(pictures))
        await pilot.press("enter")
        await wait_for(pilot, lambda: isinstance(app.screen, DoctorScreen), "the report")
        await wait_text(pilot, "6 pictures")


async def test_help_lists_the_keys_and_closes_again() -> None:
    app = SdtrainApp()
    async with app.run_test() as pilot:
        await wait_text(pilot, "No runs yet")
        await pilot.press("question_mark")
        await wait_text(pilot, "resume a stopped or crashed run")
        await pilot.press("escape")
        await wait_for(pilot, lambda: isinstance(app.screen, HomeScreen), "home")


async def test_a_hostile_run_name_is_shown_as_text() -> None:
    run = run_at("cat", 3)
    run.path.rename(run.path.with_name("[red]x[bold]"))
    app = SdtrainApp()
    async with app.run_test() as pilot:
        await wait_text(pilot, "[red]x[bold]")


async def test_nothing_is_painted_again_while_nothing_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    run_at("cat", 40)
    app = SdtrainApp()
    async with app.run_test() as pilot:
        await wait_text(pilot, "40/100")
        table = app.screen.query_one("#runs")
        painted: list[object] = []
        original = table.refresh

        def refresh(*regions: Region, **options: bool) -> object:
            painted.append(regions)
            return original(*regions, **options)

        monkeypatch.setattr(table, "refresh", refresh)
        screen = app.screen
        assert isinstance(screen, HomeScreen)
        for _ in range(3):
            screen._show(RunList().look())
            await pilot.pause()
        assert painted == []


def test_runs_that_did_not_change_are_not_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    from sdtrain_tui.screens import run_list

    quiet, busy = run_at("quiet", 5), run_at("busy", 5)
    looks = RunList()
    assert len(looks.look()) == 2
    read: list[str] = []

    def counted(run: RunDir) -> RunSummary:
        read.append(run.name)
        return summary(run)

    monkeypatch.setattr(run_list, "summary", counted)
    emit(busy, "warning", text="more")
    assert {found.name for found in looks.look()} == {"quiet", "busy"}
    assert read == [busy.name] and quiet.exists()


def test_a_run_without_events_is_queued() -> None:
    begin("waiting")
    assert [found.state for found in RunList().look()] == ["queued"]


AGES = [(-5, "now"), (59, "now"), (60, "1 min"), (7200, "2 h"), (200_000, "2 d")]


@pytest.mark.parametrize(("seconds", "text"), AGES)
def test_how_long_ago_is_short(seconds: float, text: str) -> None:
    assert ago(seconds) == text
