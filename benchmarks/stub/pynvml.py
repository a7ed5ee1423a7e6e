"""Two busy GPUs for a machine without any: the part of pynvml that the monitor reads, with figures that move."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

NVML_TEMPERATURE_GPU = 0
COUNT = 2
TOTAL = 80 << 30


class NVMLError(Exception):
    """What every NVML call may raise; 3 is "not supported"."""

    value = 3


@dataclass(frozen=True)
class Memory:
    """Bytes."""

    total: int
    used: int
    free: int


@dataclass(frozen=True)
class Utilization:
    """Percent."""

    gpu: int
    memory: int


def _wave(handle: int, period: float, low: float, high: float) -> float:
    """A figure between low and high that moves as a training GPU's does: a slow wave and a fast one."""
    at = time.time() + 3.7 * handle
    slow, fast = math.sin(2 * math.pi * at / period), math.sin(2 * math.pi * at / 2.3)
    return low + (high - low) * (0.5 + 0.35 * slow + 0.15 * fast)


def nvmlInit() -> None:
    """Always works."""


def nvmlShutdown() -> None:
    """Always works."""


def nvmlDeviceGetCount() -> int:
    return COUNT


def nvmlDeviceGetHandleByIndex(index: int) -> int:
    return index


def nvmlDeviceGetUUID(handle: int) -> str:
    return f"GPU-00000000-0000-0000-0000-{handle:012d}"


def nvmlDeviceGetName(handle: int) -> str:
    return "NVIDIA H100 80GB HBM3"


def nvmlDeviceGetMemoryInfo(handle: int) -> Memory:
    used = int(_wave(handle, 31.0, 0.6, 0.7) * TOTAL)
    return Memory(TOTAL, used, TOTAL - used)


def nvmlDeviceGetUtilizationRates(handle: int) -> Utilization:
    return Utilization(round(_wave(handle, 11.0, 82, 100)), 40)


def nvmlDeviceGetTemperature(handle: int, sensor: int) -> int:
    return round(_wave(handle, 60.0, 58, 66))


def nvmlDeviceGetPowerUsage(handle: int) -> int:
    return round(_wave(handle, 13.0, 480_000, 690_000))


def nvmlDeviceGetEnforcedPowerLimit(handle: int) -> int:
    return 700_000


def nvmlDeviceGetFanSpeed(handle: int) -> int:
    raise NVMLError("a data centre GPU has no fan")


def nvmlDeviceGetComputeRunningProcesses(handle: int) -> list[object]:
    return []
