"""Readings of GPUs, processor and memory, taken once a second in threads of their own."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from sdtrain_tui.nvml import GpuReading, NvmlSource

STALE_AFTER = 5.0  # seconds without a new reading: a wedged driver blocks inside NVML


@dataclass(frozen=True)
class HostReading:
    """Processor and memory at one moment; bytes and percent. `run_cpu` counts 100 for each busy core."""

    at: float
    cpu: float | None = None
    mem_used: int | None = None
    mem_total: int | None = None
    run_cpu: float | None = None
    run_memory: int | None = None


@dataclass(frozen=True)
class MachineReading:
    """The latest GPUs (or why there are none) and the latest host figures; times are `time.monotonic()`."""

    gpus: tuple[GpuReading, ...] = ()
    unavailable: str = ""
    gpus_at: float = 0.0
    host: HostReading = field(default_factory=lambda: HostReading(0.0))

    def stale(self, now: float) -> bool:
        """Whether the GPU figures are too old to trust; the driver has stopped answering."""
        return self.gpus_at > 0 and now - self.gpus_at > STALE_AFTER


class HostSource:
    """Processor and memory of the machine and of the run's process tree."""

    def __init__(self) -> None:
        import psutil

        self._psutil = psutil
        self._processes: dict[int, Any] = {}
        self._psutil.cpu_percent(None)

    def read(self, pid: int | None) -> tuple[HostReading, frozenset[int]]:
        """The figures, and the process ids of the run (the engine's process and its children)."""
        memory = self._psutil.virtual_memory()
        cpu, held, pids = self._read_run(pid)
        reading = HostReading(
            at=time.monotonic(),
            cpu=float(self._psutil.cpu_percent(None)),
            mem_used=int(memory.total - memory.available),
            mem_total=int(memory.total),
            run_cpu=cpu,
            run_memory=held,
        )
        return reading, pids

    def _read_run(self, pid: int | None) -> tuple[float | None, int | None, frozenset[int]]:
        error = self._psutil.Error
        try:
            root = self._psutil.Process(pid) if pid else None
            tree = [root, *root.children(recursive=True)] if root else []
        except error:
            tree = []
        known = {p.pid: self._processes.get(p.pid, p) for p in tree}
        fresh = known.keys() - self._processes.keys()
        self._processes = known
        cpu, held = 0.0, 0
        for number, process in known.items():
            try:
                used = float(process.cpu_percent(None))  # since the last call; the first one says 0
                held += int(process.memory_info().rss)
            except error:
                continue
            cpu += 0.0 if number in fresh else used
        if not known:
            return None, None, frozenset()
        return cpu, held, frozenset(known)


class GpuMonitor:
    """Takes readings once a second in two daemon threads, so that a wedged driver stops only the GPU figures.

    `visible` is the run's CUDA_VISIBLE_DEVICES. `on_reading` is called from a thread after each reading.
    """

    def __init__(
        self,
        *,
        visible: str | None = None,
        interval: float = 1.0,
        on_reading: Callable[[MachineReading], None] | None = None,
        module: Any = None,
    ) -> None:
        self._interval = interval
        self._on_reading = on_reading
        self._nvml = NvmlSource(
            os.environ.get("CUDA_VISIBLE_DEVICES") if visible is None else visible, module
        )
        self._lock = threading.Lock()
        self._latest = MachineReading()
        self._pid: int | None = None
        self._pids: frozenset[int] = frozenset()
        self._end = threading.Event()
        self._threads: list[threading.Thread] = []

    @property
    def latest(self) -> MachineReading:
        """The newest reading; empty until the first one is in."""
        with self._lock:
            return self._latest

    def watch(self, pid: int | None) -> None:
        """Names the engine's process, whose use is read with that of its children."""
        self._pid = pid

    def start(self) -> None:
        """Start the threads; a second call does nothing."""
        if self._threads:
            return
        for name, body in (("sdtrain-host", self._host_loop), ("sdtrain-gpu", self._gpu_loop)):
            thread = threading.Thread(target=body, name=name, daemon=True)
            self._threads.append(thread)
            thread.start()

    def stop(self, timeout: float = 0.5) -> None:
        """Ask the threads to end and wait a moment; one that is stuck in the driver is left behind."""
        self._end.set()
        for thread in self._threads:
            thread.join(timeout)

    def _host_loop(self) -> None:
        source = HostSource()
        while not self._end.wait(self._interval):
            host, self._pids = source.read(self._pid)
            self._publish(host=host)

    def _gpu_loop(self) -> None:
        while True:
            gpus, reason = self._nvml.read(self._pids)
            self._publish(gpus=gpus, unavailable=reason, gpus_at=time.monotonic())
            if self._end.wait(self._interval):
                break
        self._nvml.close()

    def _publish(self, **changes: Any) -> None:
        with self._lock:
            self._latest = reading = replace(self._latest, **changes)
        if self._on_reading is not None and not self._end.is_set():
            self._on_reading(reading)
