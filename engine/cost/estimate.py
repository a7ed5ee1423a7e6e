"""What a run will cost in memory, disk and time, before it starts and without torch."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from engine.cost.counts import family_of
from engine.cost.disk import Amounts, Disk, cached, disks_of, written
from engine.cost.machine import Machine
from engine.cost.model_size import ModelSize
from engine.cost.numbers import computes_in_half, device_of
from engine.cost.peak import forecast_memory
from engine.cost.roofline import forecast_time
from engine.cost.validations import steps_worth
from engine.dataset.report import DatasetReport
from engine.files import expanded
from engine.models.bases import BaseInfo
from engine.models.specs import FAMILIES
from engine.plan.schema import Plan
from engine.plan.units import duration, size_text
from engine.run.paths import cache_root, runs_root


@dataclass(frozen=True)
class Estimate:
    """All sizes in bytes. `vram_*` is main memory on a CPU; none means not known.

    `vram_parts` are there in the phase that needs most; `phases` has the peak of each, and `vram_error` is what the
    forecast may be wrong by, either way. `seconds_least` is what the card's own limits allow, and `traced`
    says where the count comes from (engine.cost.traced_rows.Source).

    `disk_free` is that of the disk with the least room for what it gets, which `disks` says disk by disk.
    """

    device: str
    vram_parts: Amounts
    vram_error: int
    vram_available: int | None
    phases: Amounts
    disk_parts: Amounts
    disk_free: int | None
    disks: tuple[Disk, ...]
    seconds: float | None
    seconds_why: str
    seconds_least: float | None
    traced: str
    notes: tuple[str, ...]

    @property
    def vram_total(self) -> int:
        """The forecast peak in bytes."""
        return sum(size for _, size in self.vram_parts)

    @property
    def disk_total(self) -> int:
        """The most that the run holds on disk at one time, in bytes."""
        return sum(size for _, size in self.disk_parts)

    def to_json(self) -> dict[str, Any]:
        """Plain data for `json.dumps`."""
        return {**asdict(self), "vram_total": self.vram_total, "disk_total": self.disk_total}

    def lines(self) -> list[str]:
        """A table for a terminal."""
        memory = "VRAM" if self.device != "cpu" else "memory"
        rows = [f"{memory} on {self.device}, forecast peak{_of(self.vram_available)}"]
        rows += _table((*self.vram_parts, ("total", self.vram_total)))
        rows += [f"  give or take {size_text(self.vram_error)}; peaks by phase:"]
        rows += _table(self.phases)
        for disk in self.disks:
            rows += [f"disk of {' and '.join(disk.paths)}{_of(disk.free, 'free')}"]
            rows += _table((*disk.parts, ("total", disk.total)))
        rows += [
            f"time: {duration(self.seconds)} ({self.seconds_why})"
            if self.seconds
            else f"time: {self.seconds_why}"
        ]
        if self.seconds_least is not None:
            rows.append(f"  {duration(self.seconds_least)} is the least that the card's own limits allow")
        return rows + [f"note: {note}" for note in self.notes]


def estimate(
    plan: Plan,
    base: BaseInfo | None,
    report: DatasetReport | None,
    machine: Machine,
    directory: Path | None = None,
) -> Estimate:
    """The forecast for a plan; where `base` or `report` is not known (none), a note says so.

    `directory` is the folder that the run is to have, by default one below runs_root().
    """
    model = ModelSize(plan, base)
    gpu = machine.gpu_for(plan.hardware.device)
    device = device_of(plan, machine)
    available = gpu.memory_total if gpu else machine.memory_total if device == "cpu" else None
    half = computes_in_half(plan, machine)
    memory = forecast_memory(plan, model, report, device != "cpu", half, available)
    pictures = report.counts.images if report is not None else 0
    validation = steps_worth(plan, pictures, bool(plan.options.whole_parts(model.spec)))
    time = forecast_time(plan, memory.setting, gpu.name if gpu else "", validation)
    own, caches = written(plan, model), () if report is None else tuple(cached(plan, model, report))
    place = runs_root() if directory is None else expanded(directory).absolute()
    disks = disks_of(((place, own), (cache_root(), caches)))
    return Estimate(
        device=device,
        vram_parts=memory.parts,
        vram_error=memory.error,
        vram_available=available,
        phases=memory.phases,
        disk_parts=(*own, *caches),
        disk_free=min(disks, key=lambda disk: math.inf if disk.free is None else disk.free - disk.total).free,
        disks=disks,
        seconds=time.seconds,
        seconds_why=time.why,
        seconds_least=time.least,
        traced=memory.setting.found.source,
        notes=(
            *memory.notes,
            *_amount(plan, report, time.seconds),
            *_notes(base, family_of(base, plan.base.family), report, device),
        ),
    )


def _amount(plan: Plan, report: DatasetReport | None, seconds: float | None) -> Iterable[str]:
    """What the method says that the run amounts to."""
    if report is None or not report.counts.images:
        return ()
    samples = plan.train.steps * plan.train.batch_size * plan.train.gradient_accumulation
    return plan.options.length_notes(samples, report.counts.images, seconds)


def _notes(base: BaseInfo | None, family: str, report: DatasetReport | None, device: str) -> Iterable[str]:
    yield "memory is counted, not measured: see the first minutes of the run for the real peak"
    if base is None or base.path is None:
        yield f"the base model is not on this machine: counted as {FAMILIES[family].title}"
    if report is None:
        yield "the data folder was not read: caches are not in the disk forecast"
    if device == "cuda":
        yield "the plan asks for CUDA, and no NVIDIA device answers here"


def _table(parts: Amounts) -> list[str]:
    return [f"  {name:<38} {size_text(size):>10}" for name, size in parts]


def _of(size: int | None, word: str = "there") -> str:
    return f" ({size_text(size)} {word})" if size is not None else ""
