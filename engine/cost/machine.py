"""What this machine offers a run, asked without torch: GPUs through NVML, memory, free disk."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

PROC_DRIVER = Path("/proc/driver/nvidia/version")


BF16_FROM = (8, 0)
"""The compute capability from which NVIDIA cards compute bf16. torch emulates it on older ones, and cuDNN has no
convolutions for it there."""


def half_format(capability: tuple[int, int]) -> str:
    """The half format for a card of this compute capability: bf16 where it computes with it, else fp16."""
    return "bf16" if capability >= BF16_FROM else "fp16"


@dataclass(frozen=True)
class Gpu:
    """One NVIDIA device as NVML numbers it. Memory is in bytes; `capability` is CUDA's, (0, 0) if unknown."""

    index: int
    name: str
    uuid: str
    memory_total: int
    memory_free: int
    capability: tuple[int, int] = (0, 0)

    @property
    def gigabytes(self) -> float:
        """Memory in GiB, the unit in which cards are named."""
        return self.memory_total / 2**30


@dataclass(frozen=True)
class Machine:
    """`reason` says why there is no GPU in the list; empty when there is one."""

    gpus: tuple[Gpu, ...]
    reason: str
    driver: str
    cpus: int
    memory_total: int

    @property
    def vram_gb(self) -> float | None:
        """GiB of the largest card, or none without one."""
        return max((gpu.gigabytes for gpu in self.gpus), default=None)

    def gpu_for(self, device: str) -> Gpu | None:
        """The card that a plan's hardware.device means; auto and cuda take the first that CUDA shows.

        None for a CPU, for a card that is not there, and for a text that is no device.
        """
        visible = visible_gpus(self.gpus, os.environ.get("CUDA_VISIBLE_DEVICES"))
        if device == "cpu":
            return None
        number = device.partition(":")[2] or "0"
        return next((gpu for index, gpu in enumerate(visible) if str(index) == number), None)


def visible_gpus(gpus: tuple[Gpu, ...], mask: str | None) -> tuple[Gpu, ...]:
    """The cards that CUDA_VISIBLE_DEVICES leaves, in its order; the first unknown entry ends the list."""
    if mask is None:
        return gpus
    chosen: list[Gpu] = []
    for item in (part.strip() for part in mask.split(",")):
        match = [gpu for gpu in gpus if item and (str(gpu.index) == item or gpu.uuid.startswith(item))]
        if not match:
            break
        chosen.append(match[0])
    return tuple(chosen)


@lru_cache(maxsize=1)
def machine() -> Machine:
    """This machine, read once a process."""
    return machine_now()


def machine_now() -> Machine:
    """This machine as it is: what is free on its cards changes."""
    gpus, reason, driver = _nvml()
    return Machine(gpus, reason, driver, os.cpu_count() or 1, _memory_total())


def _nvml() -> tuple[tuple[Gpu, ...], str, str]:
    try:
        import pynvml
    except ImportError:
        return (), "the package nvidia-ml-py is not installed", _driver_from_proc()
    try:
        pynvml.nvmlInit()
    except (pynvml.NVMLError, OSError) as error:
        return (), f"no NVIDIA driver answers ({error})", _driver_from_proc()
    try:
        found = tuple(_gpu(pynvml, index) for index in range(pynvml.nvmlDeviceGetCount()))
        return (
            found,
            "" if found else "the NVIDIA driver lists no device",
            _text(pynvml.nvmlSystemGetDriverVersion()),
        )
    except pynvml.NVMLError as error:
        return (), f"the NVIDIA driver failed ({error})", _driver_from_proc()
    finally:
        pynvml.nvmlShutdown()


def _gpu(pynvml: Any, index: int) -> Gpu:
    handle = pynvml.nvmlDeviceGetHandleByIndex(index)
    memory = pynvml.nvmlDeviceGetMemoryInfo(handle)
    name, uuid = pynvml.nvmlDeviceGetName(handle), pynvml.nvmlDeviceGetUUID(handle)
    try:
        major, minor = pynvml.nvmlDeviceGetCudaComputeCapability(handle)
    except pynvml.NVMLError:
        major, minor = 0, 0
    sizes = int(memory.total), int(memory.free)
    return Gpu(index, _text(name), _text(uuid), *sizes, (int(major), int(minor)))


def _text(value: str | bytes) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _driver_from_proc() -> str:
    try:
        return PROC_DRIVER.read_text(encoding="utf-8", errors="replace").splitlines()[0]
    except (OSError, IndexError):
        return ""


def _memory_total() -> int:
    """Bytes of memory: the machine's, or the control group's limit where that is lower."""
    try:
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError):
        return 0
    try:
        limit = Path("/sys/fs/cgroup/memory.max").read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        return total
    return min(total, int(limit)) if limit.isdigit() else total


def available_memory() -> int | None:
    """Bytes of main memory that this process may fill, with those that it has: what the system calls available, within
    the control group's limit. None where neither can be asked."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        table = {
            name: int(rest.split()[0]) << 10 for name, _, rest in (line.partition(":") for line in lines)
        }
        own = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * os.sysconf(
            "SC_PAGE_SIZE"
        )
        return min(table["MemAvailable"], _left_of_group(table["MemAvailable"])) + own
    except (OSError, ValueError, KeyError, IndexError):
        return None


def _left_of_group(otherwise: int) -> int:
    """Bytes that the control group may still fill, its cached files not counted; `otherwise` where it has no limit."""
    group = Path("/sys/fs/cgroup")
    try:
        limit = (group / "memory.max").read_text(encoding="ascii").strip()
        used = int((group / "memory.current").read_text(encoding="ascii"))
        rows = dict(line.split() for line in (group / "memory.stat").read_text(encoding="ascii").splitlines())
    except (OSError, ValueError):
        return otherwise
    return int(limit) - used + int(rows.get("inactive_file", 0)) if limit.isdigit() else otherwise


def disk_of(path: Path) -> int | None:
    """The number of the file system that `path` is or would be on; none where that cannot be asked."""
    for folder in (path, *path.parents):
        try:
            return folder.stat().st_dev
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError:
            return None
    return None


def disk_free(path: Path) -> int | None:
    """Bytes that may still be written where `path` is or would be; none where that cannot be asked."""
    for folder in (path, *path.parents):
        if folder.exists():
            try:
                return shutil.disk_usage(folder).free
            except OSError:
                return None
    return None
