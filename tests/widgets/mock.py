"""A monitor over made-up data, for tests of the panes: seeded, and advanced only when told to."""

import math
import random
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from textual.app import ComposeResult
from textual.containers import Horizontal

from engine.run.view import RunView, fold
from sdtrain_tui.gpu import HostReading, MachineReading
from sdtrain_tui.nvml import GpuReading
from sdtrain_tui.themes import DEFAULT, load_themes
from sdtrain_tui.widgets.gpu_pane import GpuPane
from sdtrain_tui.widgets.log_pane import LogPane
from sdtrain_tui.widgets.loss_pane import LossPane
from sdtrain_tui.widgets.monitor_pane import MonitorPane
from sdtrain_tui.widgets.news import News
from sdtrain_tui.widgets.previews_pane import PreviewsPane
from sdtrain_tui.widgets.progress_pane import ProgressPane
from sdtrain_tui.widgets.sparse_output import SparseApp

START = 1_760_000_000.0
TOTAL = 2000


def loss_at(step: int) -> float:
    """A noisy, falling loss that depends on nothing but the step."""
    noise = random.Random(step).gauss(0, 1)
    return (0.08 + 0.3 * math.exp(-step / 300)) * math.exp(0.25 * noise)


def started(**fields: Any) -> dict[str, Any]:
    return {
        "v": 1,
        "seq": 1,
        "t": START,
        "kind": "started",
        "name": "my-cat",
        "method": "lora",
        "family": "sd1",
        "device": "cuda:0 H100",
        "pid": 4242,
        "total_steps": TOTAL,
        "resumed": False,
        **fields,
    }


def step_event(step: int, **fields: Any) -> dict[str, Any]:
    return {
        "v": 1,
        "seq": step + 1,
        "t": START + 20 + step,
        "kind": "step",
        "step": step,
        "loss": loss_at(step),
        "lr": 1e-4 * (1 - step / (2 * TOTAL)),
        "grad_norm": 1.0,
        "images_per_s": 3.2 + step % 7 / 10,
        "epoch": step / 50,
        **fields,
    }


def history(steps: int) -> list[dict[str, Any]]:
    """Everything that a run of so many steps has said, a checkpoint every 250."""
    events = [started()]
    for step in range(1, steps + 1):
        events.append(step_event(step))
        if step % 250 == 0:
            at = {"t": START + 20 + step, "kind": "checkpoint", "step": step, "path": f"checkpoints/{step}"}
            events.append({**at, "bytes": 2_100_000, "seconds": 0.3})
    return events


def gpus(tick: int) -> tuple[GpuReading, ...]:
    """Two GPUs, one of them at work."""
    rng = random.Random(tick)
    busy = GpuReading(
        index=0,
        uuid="GPU-a",
        name="NVIDIA H100 80GB HBM3",
        util=rng.randint(88, 99),
        fan=None,
        mem_used=int(41.2 * 2**30),
        mem_total=80 * 2**30,
        temp=60 + tick % 3,
        used=True,
        power=520.0 + rng.randint(0, 60),
        power_limit=700.0,
        run_memory=int(38.1 * 2**30),
    )
    idle = GpuReading(
        index=1,
        uuid="GPU-b",
        name="NVIDIA H100 80GB HBM3",
        util=rng.randint(0, 30),
        fan=None,
        mem_used=int(12.6 * 2**30),
        mem_total=80 * 2**30,
        temp=38,
        used=False,
        power=90.0 + rng.randint(0, 20),
        power_limit=700.0,
    )
    return busy, idle


def machine(tick: int, **changes: Any) -> MachineReading:
    rng = random.Random(-tick)
    host = HostReading(
        at=float(tick + 1),
        cpu=20.0 + rng.randint(0, 30),
        mem_used=int((30 + tick % 5 / 10) * 2**30),
        mem_total=128 * 2**30,
        run_cpu=180.0 + rng.randint(0, 10),
        run_memory=6 * 2**30,
    )
    return MachineReading(**{"gpus": gpus(tick), "gpus_at": float(tick + 1), "host": host, **changes})


class MockMonitor(SparseApp[None]):
    """All panes as a monitor screen would place them."""

    CSS = """
    ProgressPane { height: 4; }
    #machine { height: 5; }
    #middle { height: 1fr; }
    LossPane { width: 3fr; }
    PreviewsPane { width: 2fr; }
    LogPane { height: 5; }
    """
    ENABLE_COMMAND_PALETTE = False

    def __init__(self, steps: int = 1300, root: Path = Path(), theme: str = DEFAULT) -> None:
        super().__init__()
        self.animation_level = "none"
        self.tick_number = 0
        self.steps = steps
        self.root_path = root
        self.theme_name = theme
        self.view: RunView = fold(history(steps))
        self.state = "running"

    def compose(self) -> ComposeResult:
        yield ProgressPane()
        yield GpuPane(id="machine")
        with Horizontal(id="middle"):
            yield LossPane()
            yield PreviewsPane()
        yield LogPane()

    def on_mount(self) -> None:
        for theme in load_themes([Path(__file__).parents[2] / "themes"]).themes.values():
            self.register_theme(theme)
        self.theme = self.theme_name
        self.query_one(LossPane).focus()
        self.feed()

    def feed(self) -> None:
        """Hands every pane the present data."""
        now = START + 20 + self.steps
        reading, clock = machine(self.tick_number), self.tick_number + 1.0
        news = News(self.view, self.state, root=self.root_path, now=now, machine=reading, clock=clock)
        self.query_one(ProgressPane).show(news)
        for pane in self.query(MonitorPane):
            pane.show(news)

    def take(self, events: list[Mapping[str, Any]] | list[dict[str, Any]]) -> None:
        """Folds events in and shows them."""
        self.view = fold(events, self.view)
        self.feed()

    def tick(self) -> None:
        """One second of a live run: one step, one reading; every tenth second a line in the log."""
        self.tick_number += 1
        self.steps += 1
        events: list[dict[str, Any]] = [step_event(self.steps)]
        if self.tick_number % 10 == 0:
            text = f"batch {self.tick_number} split in two"
            events.append({"kind": "warning", "t": START + 20 + self.steps, "text": text})
        self.take(events)


class PtyMonitor(MockMonitor):
    """The monitor for a byte count: `t` is one second of a run, `i` one without news; a mark ends each."""

    BINDINGS = [("t", "mark('tick')", "tick"), ("i", "mark('feed')", "idle")]

    def action_mark(self, what: str) -> None:
        """Does one step and writes the mark behind everything that it painted."""
        (self.tick if what == "tick" else self.feed)()
        self.call_after_refresh(self._write_mark)

    def _write_mark(self) -> None:
        if self._driver is not None:
            self._driver.write(MARK)


MARK = "\x1b]777;mark\x07"

if __name__ == "__main__":
    PtyMonitor(int(sys.argv[1])).run(mouse=False)
