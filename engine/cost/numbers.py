"""The format that a plan's frozen parts have on a device."""

from __future__ import annotations

from engine.cost.machine import Machine
from engine.plan.schema import Plan


def device_of(plan: Plan, machine: Machine) -> str:
    """The device as torch names it: cuda where the plan asks for a card that is not here."""
    gpu = machine.gpu_for(plan.hardware.device)
    if gpu:
        return f"cuda:{gpu.index}"
    return "cuda" if plan.hardware.device.startswith("cuda") else "cpu"


def computes_in_half(plan: Plan, machine: Machine) -> bool:
    """Do the frozen parts have 16 bit? A CPU computes in fp32 unless it is asked otherwise."""
    precision = plan.train.precision
    if precision == "auto":
        return device_of(plan, machine) != "cpu"
    return precision != "fp32"
