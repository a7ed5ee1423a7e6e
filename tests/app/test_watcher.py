"""What the monitor's reader tells: a long run in rough at once and exactly soon after, and what lies beside it."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path

import pytest

from engine.run.paths import RunDir, condition_name
from sdtrain_tui.screens import watcher
from sdtrain_tui.screens.watcher import Watcher, stages_of
from sdtrain_tui.widgets.news import News

STEPS = 40_000


@pytest.fixture
def long_run(tmp_path: Path) -> RunDir:
    """Events of so many steps, a sample in the middle, and a plan with stages."""
    run = RunDir(tmp_path / "long")
    run.previews.mkdir(parents=True)
    (run.path / condition_name(1)).write_bytes(b"")
    run.plan_file.write_text('method = "scratch"\n[scratch]\nstages = ["64:100", "128:50"]\n')
    with run.events_file.open("w") as file:
        for number in range(1, STEPS + 1):
            event = {"v": 1, "seq": number, "t": float(number), "kind": "step", "step": number, "loss": 0.5}
            file.write(json.dumps(event, separators=(",", ":")) + "\n")
            if number == STEPS // 2:
                sample = {"v": 1, "seq": number, "t": 1.0, "kind": "sample", "step": number, "index": 1}
                file.write(json.dumps({**sample, "path": "samples/x.png"}, separators=(",", ":")) + "\n")
    return run


def test_a_long_run_is_told_in_rough_first_and_then_exactly(
    long_run: RunDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watcher, "LONG", 1 << 20)
    told: list[News] = []
    whole = threading.Event()

    def tell(news: News) -> None:
        told.append(news)
        if len(news.view.steps) == STEPS:
            whole.set()

    reader = Watcher(long_run, tell)
    reader.start()
    try:
        assert whole.wait(60)
    finally:
        reader.stop()
    rough, exact = told[0].view, told[-1].view
    numbers = rough.steps.step
    assert len(numbers) < STEPS and numbers[0] == 1 and numbers[-1] == STEPS
    assert {number * 8 // (STEPS + 1) for number in numbers} == set(range(8))
    assert (
        [sample.step for sample in rough.previews]
        == [STEPS // 2]
        == [sample.step for sample in exact.previews]
    )
    for news in (told[0], told[-1]):
        assert news.beside.conditions == {1} and news.beside.stages == ("64:100", "128:50")


def test_a_plan_that_cannot_be_read_has_no_stages(tmp_path: Path) -> None:
    path = tmp_path / "plan.toml"
    assert stages_of(path) == ()
    for text in ("method = ", "scratch = 1", "[scratch]\nstages = 3", "[lora]\nrank = 4"):
        path.write_text(text)
        assert stages_of(path) == ()


def test_a_progress_bar_in_the_log_is_one_line(tmp_path: Path) -> None:
    run = RunDir(tmp_path)
    run.events_file.write_text('{"v":1,"seq":1,"t":1.0,"kind":"phase","phase":"loading","text":""}\n')
    run.log_file.write_bytes("\r10%\r 50%\r100% done\r\nnext\u2028 line\n".encode())
    seen: list[str] = []
    reader = Watcher(run, lambda news: seen.extend(news.output))
    reader.start()
    end = time.monotonic() + 30
    while not seen and time.monotonic() < end:
        reader._end.wait(0.02)
    reader.stop()
    assert seen == ["100% done", "next\u2028 line"]
