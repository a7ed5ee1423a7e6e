"""The machine: a row or two for each GPU, and the processor and memory below."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

from rich.cells import cell_len
from textual.geometry import Size
from textual.strip import Strip

from sdtrain_tui.gpu import HostReading, MachineReading
from sdtrain_tui.nvml import GpuReading
from sdtrain_tui.widgets.cells import StyledText, clean, cut, parts_width, row, spread
from sdtrain_tui.widgets.meters import bar, spark
from sdtrain_tui.widgets.monitor_pane import MonitorPane
from sdtrain_tui.widgets.news import News
from sdtrain_tui.widgets.numbers import gib

HISTORY = 240  # readings kept for the sparklines
History = deque[float | None]
_FIGURES = 36  # cells of a compact row that are neither name, bar nor sparkline
_SURPLUS = re.compile(r"NVIDIA|GeForce|Tesla|PCIe|SXM\d?|HBM\d\w*|(\w+-)?\d+GB(-\w+)?", re.IGNORECASE)


class _Grid(NamedTuple):
    """Widths of the columns that adapt; a row has two bars."""

    name: int
    bar: int
    spark: int


class GpuPane(MonitorPane):
    """GPUs, processor and memory over time.

    Height needed: 2 for the frame, 1 a GPU (2 with room), 1 for processor and memory. GPUs of the run come
    first where not all fit.
    """

    NAME = "machine"
    TITLE = "Machine"
    SIDE = "facts"
    DEFAULT_CSS = """
    #facts GpuPane { height: 5; }
    Screen.-low.-over GpuPane { display: none; }
    """

    def __init__(self, *, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(id=id, classes=classes)
        self._reading = MachineReading()
        self._now = 0.0
        self._util: dict[str, History] = {}
        self._cpu: History = deque(maxlen=HISTORY)
        self._memory: History = deque(maxlen=HISTORY)

    def show(self, news: News) -> None:
        """Draw again when there is a reading, or when the last one may have become stale."""
        reading, old = news.machine, self._reading
        if reading is old and news.clock == self._now:
            return
        self._reading, self._now = reading, news.clock
        if reading.gpus_at != old.gpus_at:
            for gpu in reading.gpus:
                self._util.setdefault(gpu.uuid, deque(maxlen=HISTORY)).append(gpu.util)
        if reading.host.at != old.host.at:
            host = reading.host
            self._cpu.append(host.cpu)
            self._memory.append(_percent(host.mem_used, host.mem_total))
        self.redraw()

    def rows_wanted(self, screen: Size) -> int:
        """As many rows as there are GPUs, two each where there is room; at most a third of the screen."""
        gpus = len(self._reading.gpus)
        roomy = screen.height >= 32 and self.size.width >= 70
        rows = 3 + (2 * gpus if roomy else gpus) if gpus else 5
        return min(max(5, rows), max(5, screen.height // 3))

    def heading(self) -> list[StyledText]:
        return [("machine", self.palette.strong)]

    def heading_right(self) -> list[StyledText]:
        if self._reading.stale(self._now):
            age = int(self._now - self._reading.gpus_at)
            return [(f"stale: no answer from the driver for {age} s", self.palette.warn)]
        return []

    def body(self, width: int, height: int) -> list[Strip]:
        gpus = self._reading.gpus
        if not gpus:
            return self._without_gpu(width, height)
        host_rows = 1 if height > 1 else 0
        room = height - host_rows
        detailed = room >= 2 * len(gpus)
        if len(gpus) > room:
            gpus = tuple(sorted(gpus, key=lambda gpu: not gpu.used))
        shown = gpus if len(gpus) <= room else gpus[: max(0, room - 1)]
        rows: list[Strip] = []
        for gpu in shown:
            rows.extend(self._detailed(gpu, width) if detailed else [self._compact(gpu, width)])
        if len(shown) < len(gpus):
            rows.append(
                row([(f"+{len(gpus) - len(shown)} more", self.palette.quiet)], width, self.palette.text)
            )
        if host_rows:
            rows.append(self._host_row(width))
        return rows

    def _grid(self, width: int) -> _Grid:
        """The columns of the compact form; processor and memory stand in the same ones."""
        names = max((cell_len(short_name(gpu.name)) for gpu in self._reading.gpus), default=0)
        name = min(max(names, 4), max(4, width // 6), 24)
        flexible = max(0, width - name - _FIGURES)
        bar_width = min(24, flexible * 3 // 10)
        return _Grid(name, bar_width, max(0, flexible - 2 * bar_width))

    def _compact(self, gpu: GpuReading, width: int) -> Strip:
        grid = self._grid(width)
        return self._line(
            self._label(gpu, grid.name),
            self._load(gpu.util, grid.bar),
            self._util.get(gpu.uuid, ()),
            self._memory_parts(gpu.mem_used, gpu.mem_total, grid.bar),
            [*self._heat(gpu), (" ", self.palette.text), *self._power(gpu)],
            width,
        )

    def _host_row(self, width: int) -> Strip:
        palette, host, grid = self.palette, self._reading.host, self._grid(width)
        return self._line(
            [(f"   {'cpu':<{grid.name}}", palette.quiet)],
            self._load(None if host.cpu is None else round(host.cpu), grid.bar),
            self._cpu,
            self._memory_parts(host.mem_used, host.mem_total, grid.bar),
            self._run_parts(host),
            width,
        )

    def _line(
        self,
        label: list[StyledText],
        load: list[StyledText],
        past: Sequence[float | None],
        memory: list[StyledText],
        tail: list[StyledText],
        width: int,
    ) -> Strip:
        space = (" ", self.palette.text)
        trail = spark(past, self._grid(width).spark, self.glyphs, self.palette.ghost, 100)
        left = [*label, space, *load, space, *trail, space, *memory, space]
        return spread(left, tail, width, self.palette.text)

    def _detailed(self, gpu: GpuReading, width: int) -> list[Strip]:
        palette = self.palette
        right: list[StyledText] = []
        if gpu.run_memory:
            right += [(f"run {gib(gpu.run_memory)} GiB  ", palette.quiet)]
        if gpu.fan is not None:
            right += [(f"fan {gpu.fan}%  ", palette.quiet)]
        right += [*self._heat(gpu), (" ", palette.text), *self._power(gpu)]
        label = self._label(gpu, max(0, width - 40), gpu.name)
        grid = self._grid(width)
        second: list[StyledText] = [
            (" " * (grid.name + 4), palette.text),
            *self._load(gpu.util, grid.bar),
            (" ", palette.text),
            *spark(self._util.get(gpu.uuid, ()), grid.spark, self.glyphs, palette.ghost, 100),
            (" ", palette.text),
            *self._memory_parts(gpu.mem_used, gpu.mem_total, grid.bar),
        ]
        return [spread(label, right, width, palette.text), row(second, width, palette.text)]

    def _without_gpu(self, width: int, height: int) -> list[Strip]:
        palette, host = self.palette, self._reading.host
        reason = self._reading.unavailable or "looking for GPUs"
        rows = [row([("gpu ", palette.quiet), (clean(reason), palette.warn)], width, palette.text)]
        if height < 3:
            return [*rows, self._host_row(width)][:height]
        run = self._run_parts(host)
        bar_width = min(24, max(6, width // 5))
        rest = max(0, width - bar_width - 18 - parts_width(run))
        processor: list[StyledText] = [
            ("cpu ", palette.quiet),
            *self._load(None if host.cpu is None else round(host.cpu), bar_width),
            (" " * 8, palette.text),
            *spark(self._cpu, rest, self.glyphs, palette.ghost, 100),
        ]
        memory: list[StyledText] = [
            ("mem ", palette.quiet),
            *self._memory_parts(host.mem_used, host.mem_total, bar_width),
            ("  ", palette.text),
            *spark(self._memory, rest, self.glyphs, palette.ghost, 100),
        ]
        return [*rows, spread(processor, run, width, palette.text), row(memory, width, palette.text)]

    def _label(self, gpu: GpuReading, width: int, name: str = "") -> list[StyledText]:
        palette = self.palette
        mark = self.glyphs.badge["running"] if gpu.used else " "
        text = cut(clean(name) or short_name(gpu.name), width, self.glyphs.ellipsis)
        style = palette.quiet if gpu.used is False else palette.text
        padded = text + " " * (width - cell_len(text))
        return [(f"{gpu.index}", palette.quiet), (f"{mark} ", palette.ok), (padded, style)]

    def _load(self, util: int | None, width: int) -> list[StyledText]:
        palette = self.palette
        share = None if util is None else util / 100
        text = " n/a" if util is None else f"{util:>3}%"
        return [
            *bar(share, width, self.glyphs, palette.util, palette.faint),
            (f" {text}", palette.quiet if util is None else palette.text),
        ]

    def _memory_parts(self, used: int | None, total: int | None, width: int) -> list[StyledText]:
        """The bar and `41.2/80.0G`, 11 cells."""
        palette = self.palette
        if used is None or not total:
            return [
                *bar(None, width, self.glyphs, palette.memory, palette.faint),
                (" " + "n/a".rjust(10), palette.quiet),
            ]
        share = used / total
        style = palette.memory if share < 0.95 else palette.warn
        text = f"{gib(used)}/{gib(total)}G"
        return [
            *bar(share, width, self.glyphs, style, palette.faint),
            (f" {text:>10}", palette.text if share < 0.95 else palette.warn),
        ]

    def _heat(self, gpu: GpuReading) -> list[StyledText]:
        if gpu.temp is None:
            return [(" n/a", self.palette.quiet)]
        palette = self.palette
        style = palette.text if gpu.temp < 80 else palette.warn if gpu.temp < 90 else palette.error
        return [(f"{gpu.temp:>3}{'C' if self.glyphs.chart == 'ascii' else '°'}", style)]

    def _power(self, gpu: GpuReading) -> list[StyledText]:
        if gpu.power is None:
            return [("n/a".rjust(8), self.palette.quiet)]
        limit = "" if gpu.power_limit is None else f"/{gpu.power_limit:.0f}"
        return [(f"{f'{gpu.power:.0f}{limit}W':>8}", self.palette.quiet)]

    def _run_parts(self, host: HostReading) -> list[StyledText]:
        if host.run_cpu is None or host.run_memory is None:
            return []
        return [(f"run {host.run_cpu:.0f}% {gib(host.run_memory)}G", self.palette.quiet)]


def short_name(name: str) -> str:
    """A GPU's name without its maker, form factor and memory: H100, RTX 4090, A100."""
    words = [word for word in clean(name).split() if not _SURPLUS.fullmatch(word)]
    return " ".join(words) or clean(name)


def _percent(used: int | None, total: int | None) -> float | None:
    return None if used is None or not total else 100 * used / total
