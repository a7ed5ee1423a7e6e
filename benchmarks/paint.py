"""First paint of home, wizard and monitor beside a bare Textual app: interleaved starts, each in a pty of its own."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field

from benchmarks.figures import Figure, median, run_module
from benchmarks.history import past_run
from benchmarks.pty import terminal
from benchmarks.workload import fresh_home, write_pictures

COLUMNS, ROWS = 80, 24
CELLS = 40
SETTLE_S = 1.5
TIMEOUT_S = 60.0
ROUNDS = 9
RUNS_AT_HOME = 12
STEPS = 2000
PYTHON = (sys.executable, "-P", "-m")
GOAL_S = {"wizard": 0.6, "monitor": 0.7, "home": 0.6}
GOAL_KB = 30.0


@dataclass
class Case:
    """One program: how it starts, and each round's seconds and processor seconds to first paint and bytes
    until it settled."""

    name: str
    argv: Sequence[str]
    seconds: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    bytes: list[int] = field(default_factory=list)


def start_once(case: Case, columns: int = COLUMNS, rows: int = ROWS) -> None:
    """Start the program, wait until it has painted and settled, quit it, and note the figures."""
    with terminal(case.argv, columns, rows) as screen:
        screen.pump_until(CELLS, TIMEOUT_S)
        case.cpu.append(screen.cpu_seconds())
        screen.pump(SETTLE_S)
        case.seconds.append(screen.first_paint(CELLS))
        case.bytes.append(sum(len(data) for _, data in screen.chunks))


def measure(quick: bool = False) -> list[Figure]:
    """Medians over interleaved rounds; ratios are medians of each round's own ratio."""
    with fresh_home() as home:
        pictures = write_pictures(home / "pictures", count=4)
        for index in range(RUNS_AT_HOME):
            run = past_run(f"run-{index:02d}", STEPS, pictures)
        cases = [
            Case("bare", (*PYTHON, "benchmarks.bare_app")),
            Case("home", (*PYTHON, "sdtrain_tui")),
            Case("wizard", (*PYTHON, "sdtrain_tui", "new")),
            Case("monitor", (*PYTHON, "sdtrain_tui", "attach", str(run.path))),
        ]
        for case in cases:
            start_once(case)  # page cache and byte code
            case.seconds, case.cpu, case.bytes = [], [], []
        for number in range(1 if quick else ROUNDS):
            for case in cases if number % 2 == 0 else reversed(cases):
                start_once(case)
    return _figures(cases)


def _figures(cases: Sequence[Case]) -> list[Figure]:
    bare, *ours = cases
    note = f"{len(bare.seconds)} interleaved rounds, {COLUMNS}x{ROWS}, until {CELLS} cells are filled"
    found = [
        Figure("paint.bare", "first paint: bare Textual app", median(bare.seconds), "s", note=note),
        Figure("paint.bare.cpu", "processor time to first paint: bare Textual app", median(bare.cpu), "s"),
    ]
    for case in ours:
        name = case.name
        ratio = _ratio(case.seconds, bare.seconds)
        cpu_ratio = _ratio(case.cpu, bare.cpu)
        found += [
            Figure(f"paint.{name}", f"first paint: {name}", median(case.seconds), "s", GOAL_S[name]),
            Figure(f"paint.{name}.ratio", f"first paint: {name} / bare", ratio, "x"),
            Figure(f"paint.{name}.cpu", f"processor time to first paint: {name}", median(case.cpu), "s"),
            Figure(f"paint.{name}.cpu-ratio", f"processor time: {name} / bare", cpu_ratio, "x"),
            Figure(
                f"paint.{name}.bytes",
                f"bytes until settled: {name}",
                median(case.bytes) / 1000,
                "kB",
                GOAL_KB,
            ),
        ]
    return found


def _ratio(ours: Sequence[float], bare: Sequence[float]) -> float:
    return median(own / base for own, base in zip(ours, bare, strict=True))


if __name__ == "__main__":
    sys.exit(run_module(measure, __doc__ or ""))
