"""How long the steps take: at the speed of earlier runs on this machine, by what a step computes; and at the least
what the card's own limits allow.

The limit is a roofline (Williams et al. 2009, doi:10.1145/1498765.1498785) over the counted step: products of matrices
and convolutions at the card's peak, all other kernels at its bandwidth, one after the other.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from engine.cost.gpus import peak_of
from engine.cost.memory import Setting
from engine.cost.throughput import DEVICE, Run, measured_throughput, runs_here
from engine.plan.schema import Plan

NEGLIGIBLE = 0.01


@dataclass(frozen=True)
class TimeForecast:
    """Seconds of all steps, and why; `least` is the limit. None is not known."""

    seconds: float | None
    why: str
    least: float | None


def forecast_time(plan: Plan, setting: Setting, gpu: str, validation: float = 0.0) -> TimeForecast:
    """For a plan on the GPU of this name; none is a CPU, or a card that is not here. `validation` is how many trained
    pictures its validations take as long as."""
    trained = plan.train.steps * plan.train.batch_size * plan.train.gradient_accumulation
    images = trained + validation
    share = f", {validation / images:.0%} of it for validation" if validation > NEGLIGIBLE * images else ""
    least = _least(setting, gpu)
    limit = None if least is None else images * least
    speed = measured_throughput(plan)
    if speed is not None:
        told = f"{speed.images_per_s:.3g} pictures a second in run {speed.name}{share}"
        why = f"{told}; previews and checkpoints come on top"
        return TimeForecast(images / speed.images_per_s, why, limit)
    other = _likest(plan, setting)
    if other is None:
        why = "not known before the first steps; no earlier run on this machine is like this one"
        return TimeForecast(None, why, limit)
    run, operations = other
    rate = operations * run.images_per_s
    seconds = images * flops_per_image(setting) / rate
    why = (
        f"by its operations, at the {rate / 1e9:.3g} GFLOP/s of run {run.name}, which is another kind of run: "
        f"half or twice that is as likely{share}"
    )
    return TimeForecast(seconds, why, limit)


def flops_per_image(setting: Setting) -> float:
    """Operations of a step for each of its pictures."""
    scale = setting.scale
    return setting.found.traced.step.flops.at(scale) / scale.batch


def _least(setting: Setting, gpu: str) -> float | None:
    """Seconds a picture at the card's limits; TF32 has half the peak of the 16 bit formats."""
    peak = peak_of(gpu)
    if peak is None:
        return None
    scale = setting.scale
    step = setting.found.traced.step
    flops = peak.flops if setting.half else peak.flops / 2
    return (step.flops.at(scale) / flops + step.moved.at(scale) / peak.bandwidth) / scale.batch


def _likest(plan: Plan, setting: Setting) -> tuple[Run, float] | None:
    """The newest run on this machine, device and base, whatever its method, with its operations a picture."""
    for run in runs_here(plan, (*DEVICE, "base.model")):
        size = max(run.plan.data.sides) / max(plan.data.sides)
        model = setting.model.of(run.plan)
        return run, flops_per_image(
            replace(setting, plan=run.plan, model=model, places=setting.places * size**2)
        )
    return None
