"""What the system can say about a worker that a signal ended."""

from __future__ import annotations

import resource
import signal
import sys
from dataclasses import dataclass
from pathlib import Path

_GIB = 1 << 30


def signal_name(number: int) -> str:
    """ "SIGKILL" for 9; a number that Python does not know stays a number."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


@dataclass(frozen=True, slots=True)
class Memory:
    """The machine's memory figures: bytes in all, and how often the kernel has killed for memory."""

    total: int | None
    oom_kills: int | None


def memory() -> Memory:
    """The figures of this moment; None where the system does not give one."""
    total = _field("/proc/meminfo", "MemTotal:")
    return Memory(total * 1024 if total is not None else None, _field("/proc/vmstat", "oom_kill"))


def _field(path: str, name: str) -> int | None:
    try:
        lines = Path(path).read_text().splitlines()
    except OSError:
        return None
    for line in lines:
        parts = line.split()
        if parts and parts[0] == name:
            return int(parts[1])
    return None


def peak_bytes() -> int:
    """The most memory that any worker of this supervisor has held at once."""
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def explain(number: int, before: Memory, after: Memory, peak: int) -> tuple[str, str]:
    """Why signal `number` probably ended the worker, and what to do, for `failed` and `warning` events."""
    if number == signal.SIGKILL:
        return _killed(before, after, peak)
    if number in (signal.SIGSEGV, signal.SIGBUS, signal.SIGILL, signal.SIGFPE, signal.SIGABRT):
        return (
            "compiled code (torch, a driver or another library) broke; engine.log holds where it was",
            "resume the run; if it breaks again at the same place, update the GPU driver and torch",
        )
    return "another process sent this signal", "resume the run"


def _killed(before: Memory, after: Memory, peak: int) -> tuple[str, str]:
    used = f"it had used up to {peak / _GIB:.1f} GiB"
    if after.total is not None:
        used += f" of this machine's {after.total / _GIB:.1f} GiB"
    known = before.oom_kills is not None and after.oom_kills is not None
    if known and after.oom_kills != before.oom_kills:
        cause = f"the kernel's out-of-memory killer ended it (its counter rose during the run); {used}"
    elif known:
        cause = f"somebody sent it SIGKILL (the kernel's out-of-memory counter has not moved); {used}"
    else:
        cause = f"most likely the kernel's out-of-memory killer ended it; {used}"
    return cause, "free main memory (smaller batch, fewer programs beside it), then resume the run"
