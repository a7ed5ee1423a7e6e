"""GPU figures through NVIDIA's management library (NVML), which may lack any figure and break at any time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from engine.installing import pip_install

_RETRY_AFTER = 10  # readings between two attempts to start NVML again


@dataclass(frozen=True)
class GpuReading:
    """One GPU at one moment; what the driver does not tell is None, never 0.

    Memory in bytes, temperature in Celsius, power in watts, `util` and `fan` in percent. `index` counts as
    NVML does (PCI order). `used` says whether the run works on it, None where that cannot be known;
    `run_memory` is what the run's processes hold on it.
    """

    index: int
    uuid: str
    name: str
    util: int | None = None
    mem_used: int | None = None
    mem_total: int | None = None
    temp: int | None = None
    power: float | None = None
    power_limit: float | None = None
    fan: int | None = None
    used: bool | None = None
    run_memory: int | None = None


def reason_for(code: int, text: str) -> str:
    """What an NVML start error means and what to do about it, in one line."""
    known = {
        9: "the NVIDIA driver is not loaded: load it (modprobe nvidia) or reboot",
        12: "no NVIDIA driver: install it, or start the container with --gpus all",
        4: "no permission to talk to the NVIDIA driver: check the rights of /dev/nvidia*",
        15: "a GPU has fallen off the bus: reboot; see the kernel log for Xid errors",
        18: "driver and library versions differ: reboot, or reload the nvidia kernel modules",
        999: "the NVIDIA driver reports an unknown error: restart the container, or reboot",
    }
    return known.get(code, f"the NVIDIA driver cannot be read ({text}): run nvidia-smi to see why")


def visible_uuids(value: str | None, gpus: list[tuple[int, str]]) -> set[str] | None:
    """The GPUs that CUDA_VISIBLE_DEVICES names, as UUIDs; None where it is unset.

    Numbers count in PCI order (the engine runs with CUDA_DEVICE_ORDER=PCI_BUS_ID); a UUID may be shortened;
    as in CUDA, an entry that names no device ends the list. MIG names mark no whole GPU.
    """
    if value is None:
        return None
    chosen: set[str] = set()
    for entry in (part.strip() for part in value.split(",")):
        if entry.isdecimal():
            found = [uuid for index, uuid in gpus if index == int(entry)]
        else:
            found = [uuid for _, uuid in gpus if entry.startswith("GPU-") and uuid.startswith(entry)]
        if len(found) != 1:
            break
        chosen.update(found)
    return chosen


class NvmlSource:
    """NVML behind its Python module: every call may fail alone, and a broken library is started again."""

    def __init__(self, visible: str | None = None, module: Any = None) -> None:
        self._visible = visible
        self._nvml = module
        self._started = False
        self._reason = ""
        self._wait = 0
        self._unsupported: set[tuple[str, str]] = set()
        self._restart = False

    def read(self, pids: frozenset[int] = frozenset()) -> tuple[tuple[GpuReading, ...], str]:
        """All GPUs and an empty text, or no GPU and the reason."""
        if not self._started and not self._start():
            return (), self._reason
        nvml = self._nvml
        try:
            count = int(nvml.nvmlDeviceGetCount())
            gpus = [gpu for i in range(count) if (gpu := self._read_gpu(i, pids)) is not None]
        except nvml.NVMLError as error:
            self._stop(error)
            return (), self._reason
        if self._restart:
            self._stop(None)
        if not gpus:
            return (), self._reason or "the NVIDIA driver reports no GPU"
        return tuple(self._mark(gpus)), ""

    def close(self) -> None:
        """Let go of the library."""
        if self._started:
            self._stop(None)

    def _start(self) -> bool:
        if self._wait > 0:
            self._wait -= 1
            return False
        self._wait = _RETRY_AFTER
        if self._nvml is None:
            try:
                import pynvml
            except ImportError:
                self._reason = f"the package nvidia-ml-py is missing: {pip_install('nvidia-ml-py')}"
                return False
            self._nvml = pynvml
        try:
            self._nvml.nvmlInit()
        except self._nvml.NVMLError as error:
            self._reason = reason_for(_code(error), str(error))
            return False
        except OSError as error:
            self._reason = f"the NVIDIA library cannot be loaded ({error}): reinstall the driver"
            return False
        self._started, self._reason, self._wait, self._restart = True, "", 0, False
        self._unsupported.clear()
        return True

    def _stop(self, error: Exception | None) -> None:
        """End the session, so that the next reading starts a new one."""
        self._started = self._restart = False
        if error is not None:
            self._reason = reason_for(_code(error), str(error))
        try:
            self._nvml.nvmlShutdown()
        except self._nvml.NVMLError:
            return

    def _read_gpu(self, index: int, pids: frozenset[int]) -> GpuReading | None:
        nvml = self._nvml
        try:
            handle = nvml.nvmlDeviceGetHandleByIndex(index)
            uuid = _text(nvml.nvmlDeviceGetUUID(handle))
        except nvml.NVMLError as error:
            self._note(error)
            self._reason = reason_for(_code(error), str(error))
            return None
        ask = self._asker(handle, uuid)
        memory = ask("memory", nvml.nvmlDeviceGetMemoryInfo)
        load = ask("util", nvml.nvmlDeviceGetUtilizationRates)
        power = ask("power", nvml.nvmlDeviceGetPowerUsage)
        limit = ask("limit", nvml.nvmlDeviceGetEnforcedPowerLimit)
        held = self._held(ask("processes", nvml.nvmlDeviceGetComputeRunningProcesses), pids)
        return GpuReading(
            index=index,
            uuid=uuid,
            name=_text(ask("name", nvml.nvmlDeviceGetName) or "GPU"),
            util=None if load is None else int(load.gpu),
            mem_used=None if memory is None else int(memory.used),
            mem_total=None if memory is None else int(memory.total),
            temp=ask("temp", lambda h: nvml.nvmlDeviceGetTemperature(h, nvml.NVML_TEMPERATURE_GPU)),
            power=None if power is None else power / 1000,
            power_limit=None if limit is None else limit / 1000,
            fan=ask("fan", nvml.nvmlDeviceGetFanSpeed),
            used=True if held is not None else None,
            run_memory=held or None,
        )

    def _asker(self, handle: Any, uuid: str) -> Callable[[str, Callable[[Any], Any]], Any]:
        """A caller that turns an NVML error into None and remembers what a device never answers."""

        def ask(what: str, call: Callable[[Any], Any]) -> Any:
            if (uuid, what) in self._unsupported:
                return None
            try:
                return call(handle)
            except self._nvml.NVMLError as error:
                if _code(error) in (3, 13):  # not supported, function not found
                    self._unsupported.add((uuid, what))
                self._note(error)
                return None

        return ask

    def _note(self, error: Exception) -> None:
        if _code(error) in (1, 15, 999):  # uninitialised, GPU lost, unknown: only a new session helps
            self._restart = True

    @staticmethod
    def _held(processes: Any, pids: frozenset[int]) -> int | None:
        """Bytes that the run's processes hold; None where none of them is listed."""
        mine = [process for process in processes or () if int(process.pid) in pids]
        return sum(int(process.usedGpuMemory or 0) for process in mine) if mine else None

    def _mark(self, gpus: list[GpuReading]) -> list[GpuReading]:
        if any(gpu.used for gpu in gpus):
            return [replace(gpu, used=bool(gpu.used)) for gpu in gpus]
        chosen = visible_uuids(self._visible, [(gpu.index, gpu.uuid) for gpu in gpus])
        return gpus if chosen is None else [replace(gpu, used=gpu.uuid in chosen) for gpu in gpus]


def _code(error: Exception) -> int:
    value = getattr(error, "value", -1)
    return value if isinstance(value, int) else -1


def _text(value: Any) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)
