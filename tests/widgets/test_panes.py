"""The panes in an app, driven by keys and views: what a user sees."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from textual.app import App, ComposeResult
from textual.geometry import Region
from textual.pilot import Pilot
from textual.strip import Strip
from textual.widget import Widget

from engine.run.paths import condition_name
from engine.run.view import RunView, fold
from sdtrain_tui.gpu import MachineReading
from sdtrain_tui.widgets.diff_lines import DiffedLines
from sdtrain_tui.widgets.gpu_pane import GpuPane, short_name
from sdtrain_tui.widgets.log_pane import LogPane
from sdtrain_tui.widgets.loss_pane import LossPane
from sdtrain_tui.widgets.monitor_pane import MonitorPane
from sdtrain_tui.widgets.news import Beside, News
from sdtrain_tui.widgets.previews_pane import PreviewsPane
from sdtrain_tui.widgets.progress_pane import ProgressPane
from tests.widgets.mock import START, history, machine, started, step_event


class Host(App[None]):
    """One pane alone."""

    def __init__(self, pane: Widget) -> None:
        super().__init__()
        self.pane = pane
        self.chosen: list[int] = []

    def compose(self) -> ComposeResult:
        yield self.pane

    def on_monitor_pane_step_chosen(self, message: MonitorPane.StepChosen) -> None:
        self.chosen.append(message.step)


@asynccontextmanager
async def shown(pane: Widget, width: int = 80, height: int = 14) -> AsyncIterator[Pilot[None]]:
    app = Host(pane)
    async with app.run_test(size=(width, height)) as pilot:
        if pane.can_focus:
            pane.focus()
        await pilot.pause()
        yield pilot


def text(pilot: Pilot[Any]) -> str:
    return "\n".join(strip.text for strip in pilot.app.screen._compositor.render_strips())


# The base


class Counter(DiffedLines):
    """Two rows, of which one changes."""

    value = 0
    computed = 0

    def lines(self, width: int, height: int) -> list[Strip]:
        self.computed += 1
        texts = ["still", f"value {self.value}"]
        return [Strip.blank(0).join([]) if not t else self._row(t) for t in texts]

    def _row(self, words: str) -> Strip:
        from sdtrain_tui.widgets.cells import row

        return row([(words, self.palette.text)], self.size.width, self.palette.text)


async def test_only_changed_cells_are_marked_for_painting(monkeypatch: pytest.MonkeyPatch) -> None:
    pane = Counter()
    marked: list[Region] = []
    async with shown(pane) as pilot:
        monkeypatch.setattr(pane, "refresh", lambda *regions, **_: marked.extend(regions))
        pane.redraw()
        assert marked == []
        pane.value = 7
        pane.redraw()
        assert marked == [Region(6, 1, 1, 1)]
        assert pilot.app.screen.size.width == 80


async def test_a_resize_computes_the_rows_once() -> None:
    pane = Counter()
    async with shown(pane) as pilot:
        before = pane.computed
        await pilot.resize_terminal(60, 20)
        await pilot.pause()
        assert pane.computed == before + 1
        assert "value 0" in text(pilot)


async def test_a_new_theme_repaints_in_its_colours() -> None:
    pane = Counter()
    async with shown(pane) as pilot:
        before = pane.render_line(0)
        pilot.app.theme = "textual-light"
        await pilot.pause()
        assert pane.render_line(0).text == before.text
        assert pane.render_line(0) != before


# Loss


@asynccontextmanager
async def loss_pane(steps: int, state: str = "running") -> AsyncIterator[tuple[LossPane, Pilot[None]]]:
    pane = LossPane()
    async with shown(pane) as pilot:
        pane.show(News(fold(history(steps)), state))
        await pilot.pause()
        yield pane, pilot


async def test_the_loss_pane_tells_loss_smoothed_loss_and_rate() -> None:
    async with loss_pane(300) as (_, pilot):
        title = text(pilot).splitlines()[0]
        for word in ("loss 0.", "smooth 0.", "lr 9.25e-5", "ema 0.9"):
            assert word in title


async def test_an_empty_run_says_what_it_waits_for() -> None:
    async with loss_pane(0) as (_, pilot):
        assert "the curve begins with the first step" in text(pilot)


async def test_losses_that_are_not_finite_leave_a_gap_and_no_crash() -> None:
    pane = LossPane()
    async with shown(pane) as pilot:
        events = [started(), *(step_event(i, loss="nan") for i in range(1, 5))]
        pane.show(News(fold(events), "running"))
        await pilot.pause()
        assert "no finite loss yet" in text(pilot)
        pane.show(News(fold([*events, step_event(5), step_event(6)]), "running"))
        await pilot.pause()
        assert "no finite loss" not in text(pilot)


async def test_the_crosshair_reads_values_and_tells_the_step() -> None:
    async with loss_pane(300) as (pane, pilot):
        await pilot.press("left")
        assert pane.crosshair_step == 300
        await pilot.press("left")
        assert pane.crosshair_step is not None and pane.crosshair_step < 300
        await pilot.press("home")
        assert "step 1  loss" in text(pilot).splitlines()[-1]
        await pilot.press("end", "escape")
        await pilot.pause()
        assert pane.crosshair_step is None
        assert isinstance(pilot.app, Host)
        assert pilot.app.chosen[-2:] == [1, 300]


async def test_zoom_pan_and_reset() -> None:
    async with loss_pane(1000) as (_, pilot):
        whole = text(pilot)
        await pilot.press("plus", "plus")
        assert "zoom 4x" in text(pilot)
        await pilot.press("left_square_bracket")
        assert "held" in text(pilot)
        await pilot.press("right_square_bracket", "right_square_bracket", "right_square_bracket")
        assert "held" not in text(pilot)
        await pilot.press("minus", "minus")
        assert text(pilot) == whole
        await pilot.press("minus", "plus", "0")
        assert text(pilot) == whole


async def test_smoothing_log_axis_and_raw_curve_have_keys() -> None:
    async with loss_pane(300) as (pane, pilot):
        await pilot.press("e")
        assert pane.smoothing == 0.95
        await pilot.press("E", "E")
        assert pane.smoothing == 0.8
        await pilot.press("y")
        assert "log" in text(pilot).splitlines()[0]
        before = text(pilot)
        await pilot.press("w")
        assert text(pilot) != before


async def test_a_finished_run_fills_the_width_and_a_live_one_need_not() -> None:
    def last_column(screen: str) -> int:
        return max(
            (
                x
                for line in screen.splitlines()[1:-2]
                for x, char in enumerate(line)
                if "\u2800" < char < "\u2900"
            ),
            default=0,
        )

    async with loss_pane(530) as (pane, pilot):
        live = last_column(text(pilot))
        pane.show(News(fold(history(530)), "finished"))
        await pilot.pause()
        assert last_column(text(pilot)) > live
        assert last_column(text(pilot)) >= 76


async def test_a_click_sets_the_crosshair() -> None:
    async with loss_pane(300) as (pane, pilot):
        await pilot.click(LossPane, offset=(20, 5))
        assert pane.crosshair_step is not None


@pytest.mark.parametrize("glyphs", ["braille", "block", "ascii"])
async def test_every_character_set_draws_the_chart(glyphs: str) -> None:
    pane = LossPane()
    app = Host(pane)
    app.glyph_set = glyphs  # type: ignore[attr-defined]
    async with app.run_test(size=(60, 12)) as pilot:
        pane.show(News(fold(history(300)), "running"))
        await pilot.pause()
        seen = text(pilot)
        assert seen.isascii() == (glyphs == "ascii")
        await pilot.resize_terminal(24, 8)
        await pilot.pause()
        assert text(pilot).isascii() == (glyphs == "ascii")
        assert {"braille": "⣀", "block": "▄", "ascii": "*"}[glyphs] in seen


@pytest.mark.parametrize("size", [(80, 14), (40, 8), (20, 5), (12, 3), (9, 3), (5, 2), (3, 1), (200, 50)])
async def test_every_pane_draws_at_every_size(size: tuple[int, int], tmp_path: Path) -> None:
    view = fold(samples(tmp_path, (0, 100)), fold(history(300)))
    news = News(view, "running", root=tmp_path, now=START, machine=machine(3), clock=4.0)
    panes: list[MonitorPane | ProgressPane] = [
        LossPane(),
        GpuPane(),
        ProgressPane(),
        LogPane(),
        PreviewsPane(),
    ]
    for pane in panes:
        async with shown(pane, *size) as pilot:
            pane.show(news)
            await pilot.pause()
            lines = text(pilot).splitlines()
            assert len(lines) == size[1]


# Machine


async def machine_text(reading: MachineReading, now: float = 4.0, size: tuple[int, int] = (80, 5)) -> str:
    pane = GpuPane()
    async with shown(pane, *size) as pilot:
        pane.show(News(machine=reading, clock=now))
        await pilot.pause()
        return text(pilot)


async def test_two_gpus_and_the_host_fit_in_five_rows_of_eighty() -> None:
    seen = await machine_text(machine(3))
    for word in ("H100", "41.2/80.0G", "60°", "/700W", "12.6/80.0G", "cpu", "30.3/128G", "run 1"):
        assert word in seen
    assert "…" not in seen


async def test_what_a_gpu_does_not_tell_is_not_available() -> None:
    gpu = replace(machine(3).gpus[0], util=None, power=None, temp=None, mem_used=None)
    for height in (4, 5):
        rows = "".join((await machine_text(machine(3, gpus=(gpu,)), size=(80, height))).splitlines()[1:-2])
        assert rows.count("n/a") == 4
        assert "0%" not in rows


async def test_more_height_gives_each_gpu_two_rows() -> None:
    gpu = replace(machine(3).gpus[0], fan=40)
    seen = await machine_text(machine(3, gpus=(gpu,)), size=(100, 8))
    assert "H100 80GB HBM3" in seen
    assert "fan 40%" in seen
    assert "run 38.1 GiB" in seen


async def test_without_a_gpu_the_reason_and_the_host_are_shown() -> None:
    seen = await machine_text(machine(3, gpus=(), unavailable="no NVIDIA driver library: install the driver"))
    assert "install the driver" in seen
    assert "cpu" in seen and "mem" in seen


async def test_gpus_of_the_run_come_first_where_not_all_fit() -> None:
    one = machine(3).gpus[1]
    many = tuple(replace(one, index=i, uuid=f"GPU-{i}", used=i == 6) for i in range(8))
    lines = (await machine_text(machine(3, gpus=many))).splitlines()
    assert lines[1].startswith("│ 6●")
    assert "+7 more" in lines[2]


async def test_an_old_reading_is_marked_as_stale() -> None:
    assert "stale" not in await machine_text(machine(3), now=8.0)
    assert "no answer from the driver for 8 s" in await machine_text(machine(3), now=12.0)


def test_gpu_names_lose_what_other_columns_say() -> None:
    assert short_name("NVIDIA H100 80GB HBM3") == "H100"
    assert short_name("NVIDIA GeForce RTX 4090") == "RTX 4090"
    assert short_name("Tesla V100-SXM2-16GB") == "V100-SXM2-16GB"
    assert short_name("NVIDIA A100-PCIE-40GB") == "A100-PCIE-40GB"


# Progress


async def progress_text(view: RunView, state: str, now: float = START + 320.0, height: int = 4) -> str:
    pane = ProgressPane()
    async with shown(pane, 80, height) as pilot:
        pane.show(News(view, state, now=now))
        await pilot.pause()
        return "\n".join(text(pilot).splitlines()[:height])


async def test_a_running_run_tells_step_rest_and_speed() -> None:
    seen = await progress_text(fold(history(300)), "running")
    for word in ("my-cat", "lora · sd1", "● running", "step 300/2,000", "15%", "28:20 left", "elapsed 5:20"):
        assert word in seen
    for word in ("img/s 3.8", "epoch 6.0", "saved step 250"):
        assert word in seen


async def test_what_trains_is_told_in_two_rows_and_in_three() -> None:
    parts = [
        {"kind": "trainable", "t": START, "module": "unet", "parameters": 3_432_000, "tensors": 9},
        {"kind": "trainable", "t": START, "module": "text_encoder", "parameters": 384, "tensors": 1},
    ]
    view = fold([started(), *parts, step_event(1)])
    for height in (4, 5):
        assert "trains unet 3.4M, text_encoder 384" in await progress_text(view, "running", START + 9, height)


async def test_the_stage_of_resolution_and_its_encoding_are_told() -> None:
    pane = ProgressPane()
    beside = Beside(stages=("256:70", "512:20", "1024:10"))
    async with shown(pane, 80, 4) as pilot:
        for step, wanted in ((1, "stage 1/3 256 px"), (70, "stage 2/3 512 px"), (99, "stage 3/3 1024 px")):
            pane.show(
                News(
                    fold([started(), step_event(step)]),
                    "running",
                    now=START + 500,
                    beside=beside,
                )
            )
            await pilot.pause()
            assert wanted in text(pilot)
        encoding = {
            "kind": "progress",
            "t": START + 71,
            "phase": "training",
            "text": "latents",
            "done": 3,
            "total": 9,
        }
        pane.show(
            News(
                fold([started(), step_event(70), encoding]),
                "running",
                now=START + 500,
                beside=beside,
            )
        )
        await pilot.pause()
        assert "latents 3/9" in text(pilot)
        pane.show(
            News(
                fold([started(), step_event(70), encoding, step_event(71)]),
                "running",
                now=START + 500,
                beside=beside,
            )
        )
        await pilot.pause()
        assert "latents" not in text(pilot)


async def test_a_preparation_shows_its_own_progress() -> None:
    at = {"t": START + 5, "kind": "progress", "phase": "caching"}
    view = fold([started(), {**at, "done": 120, "total": 400, "text": "encoding pictures"}])
    seen = await progress_text(view, "preparing")
    for word in ("caching 120/400", "30%", "encoding pictures", "preparing"):
        assert word in seen


async def test_a_failure_shows_what_and_what_to_do() -> None:
    error = {"what": "GPU memory is full", "why": "batch of 8 at 1024", "fix": "set train.batch_size = 4"}
    events = [*history(10), {"kind": "failed", "t": START, "error": error, "state": "out-of-memory"}]
    low = await progress_text(fold(events), "out-of-memory")
    high = await progress_text(fold(events), "out-of-memory", height=6)
    for word in ("✗ out-of-memory", "GPU memory is full", "set train.batch_size = 4"):
        assert word in low and word in high
    assert "batch of 8" in high and "step 10/2,000" in high


@pytest.mark.parametrize(
    ("events", "state", "says"),
    [
        ([{"kind": "paused", "t": START + 40, "step": 10}], "paused", "waits after step 10"),
        (
            [{"kind": "stopped", "t": START + 40, "step": 10, "reason": "asked to"}],
            "stopped",
            "step 10: asked to",
        ),
        ([], "stalled", "no sign of life for 4:50"),
        ([], "crashed", "resume goes on from the last checkpoint"),
        ([{"kind": "finished", "t": START, "step": 10, "seconds": 83.0}], "finished", "elapsed 1:23"),
    ],
)
async def test_each_state_says_where_the_run_stands(
    events: list[dict[str, Any]], state: str, says: str
) -> None:
    assert says in await progress_text(fold([*history(10), *events]), state)


async def test_names_from_a_file_are_shown_literally() -> None:
    seen = await progress_text(fold([started(name="[red]x[/]\x1b[2J", method="a\nb")]), "preparing")
    assert "[red]x[/][2J  a b" in seen


# Log


def warnings(first: int, last: int) -> list[dict[str, Any]]:
    return [{"kind": "warning", "t": START + i, "text": f"note {i}"} for i in range(first, last)]


async def test_the_log_follows_until_scrolled_and_again_from_its_end() -> None:
    pane = LogPane()
    view = fold(warnings(0, 100))
    async with shown(pane, 60, 7) as pilot:
        pane.show(News(view))
        await pilot.pause()
        assert "note 99" in text(pilot)
        await pilot.press("up", "up")
        assert not pane.following
        view = fold(warnings(100, 110), view)
        pane.show(News(view))
        await pilot.pause()
        assert "note 97" in text(pilot) and "note 109" not in text(pilot)
        assert "12 more below" in text(pilot)
        await pilot.press("end")
        assert pane.following and "note 109" in text(pilot)
        await pilot.press("home")
        assert "note 0" in text(pilot)


async def test_log_lines_are_literal_and_hold_no_control_characters() -> None:
    pane = LogPane()
    async with shown(pane, 60, 7) as pilot:
        pane.show(News(fold([{"kind": "warning", "t": START, "text": "[b]x[/b] \x1b[31m\x07 [link='"}])))
        await pilot.pause()
        assert "[b]x[/b] [31m [link='" in text(pilot)


async def test_search_finds_goes_on_and_ends() -> None:
    pane = LogPane()
    async with shown(pane, 60, 7) as pilot:
        pane.show(News(fold(warnings(0, 300))))
        await pilot.press("slash", *"note 12")
        assert pane.searching
        await pilot.press("enter")
        await pilot.pause()
        assert "note 129" in text(pilot) and "11 lines" in text(pilot)
        await pilot.press("N")
        await pilot.press("n", "n")
        await pilot.pause()
        assert "note 12 " in text(pilot)
        await pilot.press("escape", "escape")
        assert pane.following and "/note" not in text(pilot)


async def test_letters_of_a_search_are_no_commands() -> None:
    class Keys(Host):
        BINDINGS = [("j", "gone", "j"), ("q", "gone", "q")]
        pressed = 0

        def action_gone(self) -> None:
            self.pressed += 1

    app = Keys(LogPane())
    async with app.run_test(size=(60, 7)) as pilot:
        app.pane.focus()
        await pilot.press("slash", "q", "j", "backspace", "n")
        assert app.pressed == 0
        assert "/qn" in text(pilot)
        await pilot.press("enter", "q")
        assert app.pressed == 1


async def test_engine_output_joins_the_log_and_a_new_run_replaces_it() -> None:
    pane = LogPane()
    async with shown(pane, 60, 7) as pilot:
        pane.show(News(fold(warnings(0, 3))))
        pane.show(News(fold(warnings(0, 3)), output=("Traceback: [red]", "boom")))
        await pilot.pause()
        assert "Traceback: [red]" in text(pilot)
        pane.show(News(fold(warnings(7, 8))))
        await pilot.pause()
        assert "note 7" in text(pilot) and "note 1" not in text(pilot)


async def test_a_long_log_keeps_its_newest_lines() -> None:
    pane = LogPane()
    view = fold(warnings(0, 6000))
    async with shown(pane, 60, 7) as pilot:
        pane.show(News(view))
        await pilot.press("home")
        assert "note 1000" in text(pilot)


# Samples


def samples(root: Path, steps: tuple[int, ...], prompts: int = 2) -> list[dict[str, Any]]:
    """Sample events with one-coloured pictures: red grows with the step, green with the prompt."""
    (root / "samples").mkdir(exist_ok=True)
    events = []
    for step in steps:
        for index in range(prompts):
            path = f"samples/{step}-{index}.png"
            Image.new("RGB", (32, 32), (step % 256, 100 * index, 255)).save(root / path)
            place = {"kind": "sample", "t": START + step, "step": step, "index": index, "seed": index}
            events.append({**place, "prompt": f"[b]prompt {index}", "path": path, "thumb": path})
    return events


@pytest.fixture
def true_colours(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pictures in their own colours, whatever terminal the tests run in."""
    monkeypatch.setattr("sdtrain_tui.widgets.previews_pane.mode_for", lambda app: "truecolor")


async def settled(pilot: Pilot[Any]) -> None:
    """Until every picture that was asked for is shown."""
    for _ in range(3):
        await pilot.pause()
        await pilot.app.workers.wait_for_complete()
    await pilot.pause()


def colours(pilot: Pilot[Any]) -> set[tuple[int, int, int]]:
    """Background colours on the screen that have full blue: those of the pictures."""
    found = set()
    for strip in pilot.app.screen._compositor.render_strips():
        for segment in strip:
            color = segment.style.bgcolor if segment.style else None
            if color is not None and color.triplet is not None and color.triplet.blue == 255:
                found.add(tuple(color.triplet))
    return found  # type: ignore[return-value]


@pytest.mark.usefixtures("true_colours")
async def test_the_first_and_the_latest_step_stand_side_by_side(tmp_path: Path) -> None:
    pane = PreviewsPane()
    async with shown(pane, 60, 16) as pilot:
        pane.show(News(fold(samples(tmp_path, (0, 100, 200), 1)), root=tmp_path))
        await settled(pilot)
        assert {(0, 0, 255), (200, 0, 255)} <= colours(pilot)
        assert "step 0" in text(pilot) and "step 200" in text(pilot)
        assert "1/1 [b]prompt 0" in text(pilot)
        await pilot.press("b")
        await settled(pilot)
        assert colours(pilot) == {(200, 0, 255)}


@pytest.mark.usefixtures("true_colours")
async def test_the_condition_of_a_preview_stands_before_it(tmp_path: Path) -> None:
    pane = PreviewsPane()
    async with shown(pane, 110, 16) as pilot:
        view = fold(samples(tmp_path, (0, 100), 1))
        path = tmp_path / condition_name(0)
        path.parent.mkdir(exist_ok=True)
        Image.new("RGB", (32, 32), (7, 7, 255)).save(path)
        pane.show(News(view, root=tmp_path))
        await settled(pilot)
        assert "condition" not in text(pilot)
        pane.show(News(view, root=tmp_path, beside=Beside(frozenset({0}))))
        await settled(pilot)
        assert {(7, 7, 255), (0, 0, 255), (100, 0, 255)} <= colours(pilot)
        assert "condition" in text(pilot)
        await pilot.press("b")
        await settled(pilot)
        assert "condition" not in text(pilot)


@pytest.mark.usefixtures("true_colours")
async def test_keys_scrub_through_steps_and_prompts(tmp_path: Path) -> None:
    pane = PreviewsPane()
    async with shown(pane, 40, 16) as pilot:
        view = fold(samples(tmp_path, (0, 100, 200)))
        pane.show(News(view, root=tmp_path))
        await pilot.press("b", "left")
        await settled(pilot)
        assert (100, 0, 255) in colours(pilot)
        assert "held at step 100" in text(pilot)
        pane.show(News(fold(samples(tmp_path, (240,)), view), root=tmp_path))
        await settled(pilot)
        assert pane.chosen is not None and pane.chosen.step == 100
        await pilot.press("down", "end")
        assert (pane.chosen.index, pane.chosen.step) == (1, 240)
        assert "held" not in text(pilot)
        pane.go_to_step(150)
        assert pane.chosen.step == 100


async def test_a_failed_a_missing_and_a_broken_sample_have_a_placeholder(tmp_path: Path) -> None:
    events = samples(tmp_path, (0, 100, 200), 1)
    (tmp_path / "samples/0-0.png").unlink()
    (tmp_path / "samples/100-0.png").write_bytes(b"no picture")
    events.append({"kind": "sample", "t": START, "step": 300, "index": 0, "error": "out of memory"})
    pane = PreviewsPane()
    async with shown(pane, 120, 12) as pilot:
        pane.show(News(fold(events), root=tmp_path))
        await settled(pilot)
        seen = text(pilot)
        for part in ("gone", "readable", "not drawn:"):
            assert part in seen


@pytest.mark.usefixtures("true_colours")
async def test_a_path_outside_of_the_run_is_not_opened(tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    Image.new("RGB", (8, 8), (1, 2, 255)).save(tmp_path / "secret.png")
    for path in ("../secret.png", str(tmp_path / "secret.png")):
        pane = PreviewsPane()
        async with shown(pane, 60, 12) as pilot:
            event = {"kind": "sample", "t": START, "step": 1, "index": 0, "path": path, "thumb": path}
            pane.show(News(fold([event]), root=run))
            await settled(pilot)
            assert colours(pilot) == set()
            assert "path outside of" in text(pilot)


@pytest.mark.usefixtures("true_colours")
async def test_a_step_that_is_sampled_again_shows_the_new_picture(tmp_path: Path) -> None:
    pane = PreviewsPane()
    async with shown(pane, 40, 12) as pilot:
        events = samples(tmp_path, (50,), 1)
        view = fold(events)
        pane.show(News(view, root=tmp_path))
        await settled(pilot)
        assert (50, 0, 255) in colours(pilot)
        Image.new("RGB", (32, 32), (9, 9, 255)).save(tmp_path / "samples/50-0.png")
        pane.show(News(fold([{**events[0], "t": START + 999}], view), root=tmp_path))
        await settled(pilot)
        assert (9, 9, 255) in colours(pilot)


async def test_enter_asks_for_the_chosen_sample(tmp_path: Path) -> None:
    opened: list[tuple[int, int]] = []

    class Opener(Host):
        def on_monitor_pane_opened(self, message: MonitorPane.Opened) -> None:
            opened.append((message.preview.step, message.preview.index))

    app = Opener(PreviewsPane())
    async with app.run_test(size=(40, 12)) as pilot:
        assert isinstance(app.pane, PreviewsPane)
        app.pane.show(News(fold(samples(tmp_path, (0, 100))), root=tmp_path))
        app.pane.focus()
        await pilot.press("enter")
        await pilot.pause()
    assert opened == [(100, 0)]
