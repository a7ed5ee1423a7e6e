"""The forecast of memory: the phase of a run that needs most, part by part."""

from __future__ import annotations

from dataclasses import dataclass, replace

from engine.cost.disk import Amounts, preview_size
from engine.cost.memory import TITLES, Setting, parts_of, totals
from engine.cost.model_size import ModelSize
from engine.dataset.report import DatasetReport
from engine.plan.schema import Plan

# What a trace may be wrong by, as a share of all that it counts: scratch memory of kernels and slack of the allocator
# are in the allowance, which is said.
TRACED_ERROR = 0.03
# The same of activations that are scaled from the likest trace: see docs/forecast.md.
SCALED_ERROR = 0.25


@dataclass(frozen=True)
class MemoryForecast:
    """`parts` are there in the phase that needs most, whose sum they are; `phases` has each phase's peak."""

    setting: Setting
    parts: Amounts
    phases: Amounts
    error: int
    notes: tuple[str, ...]


def forecast_memory(
    plan: Plan, model: ModelSize, report: DatasetReport | None, gpu: bool, half: bool, available: int | None
) -> MemoryForecast:
    """The peak on a device with so many bytes; on a GPU a preview that would not fit is decoded in tiles."""
    found = _forecast(plan, model, report, gpu, half)
    peak = max(size for _, size in found.phases)
    over = available is not None and available < peak == dict(found.phases).get(TITLES["previews"])
    if not (over and gpu and plan.hardware.vae_tiling == "auto"):
        return found
    hardware = plan.hardware.model_copy(update={"vae_tiling": "decode"})
    found = _forecast(plan.model_copy(update={"hardware": hardware}), model, report, gpu, half)
    return replace(found, notes=(*found.notes, "previews are decoded in tiles, which this card asks for"))


def _forecast(
    plan: Plan, model: ModelSize, report: DatasetReport | None, gpu: bool, half: bool
) -> MemoryForecast:
    fold = model.spec.downscale**2
    width, height = preview_size(plan)
    setting = Setting(plan, model, gpu, half, _pixels(plan, report) / fold, width * height / fold)
    parts = parts_of(setting)
    phases = totals(parts)
    peak = max(phases, key=phases.__getitem__)
    merged: dict[str, int] = {}
    for part in parts:
        if peak in part.phases:
            merged[part.name] = merged.get(part.name, 0) + int(part.size)
    scaled = setting.found.source == "likest"
    guessed = sum(size for name, size in merged.items() if name.startswith("activations")) if scaled else 0
    notes = [f"the most is needed for {TITLES[peak]}"] if peak != "training" else []
    if scaled:
        notes.append(
            "activations are scaled from the likest plan that was traced; `sdtrain estimate` traces this one"
        )
    return MemoryForecast(
        setting,
        tuple(merged.items()),
        tuple((TITLES[phase], size) for phase, size in phases.items()),
        int(TRACED_ERROR * sum(merged.values()) + SCALED_ERROR * guessed),
        tuple(notes),
    )


def _pixels(plan: Plan, report: DatasetReport | None) -> int:
    """Of the largest picture that is trained on."""
    stages = plan.options.stages_of_resolution
    if stages:
        return max(stage.side for stage in stages) ** 2
    # The pictures may have been looked at for another resolution than the plan's.
    if report is not None and report.buckets and _looked_at(plan, report):
        return max(width * height for width, height in report.buckets)
    return max(plan.data.sides) ** 2


def _looked_at(plan: Plan, report: DatasetReport) -> bool:
    """Was it looked at as the plan says?"""
    data = plan.data
    more = data.sides - {data.resolution} if report.sets else frozenset(data.more_resolutions)
    return report.resolution == data.resolution and more <= frozenset(report.more_resolutions)
