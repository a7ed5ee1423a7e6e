"""What a machine says of itself without torch."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.cost.machine import Gpu, Machine, disk_free, machine, visible_gpus
from engine.plan.units import duration, size_text

GPUS = tuple(Gpu(index, f"card {index}", f"GPU-{index}abc", 2**33, 2**33) for index in range(3))


@pytest.mark.parametrize(
    ("mask", "expected"),
    [(None, [0, 1, 2]), ("1", [1]), ("2,0", [2, 0]), ("", []), ("-1", []), ("0,9,1", [0]), ("GPU-2a", [2])],
)
def test_visible_devices_follow_cudas_rules(mask: str | None, expected: list[int]) -> None:
    assert [gpu.index for gpu in visible_gpus(GPUS, mask)] == expected


@pytest.mark.parametrize(
    ("device", "index"), [("auto", 0), ("cuda", 0), ("cuda:2", 2), ("cuda:3", None), ("cpu", None)]
)
def test_the_plans_device_names_a_card(
    device: str, index: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    gpu = Machine(GPUS, "", "", 1, 1).gpu_for(device)
    assert (gpu.index if gpu else None) == index


def test_this_machine_has_memory_and_a_reason_for_no_gpu() -> None:
    here = machine()
    assert here.cpus > 0 and here.memory_total > 2**28
    assert bool(here.gpus) != bool(here.reason)


def test_free_disk_is_that_of_the_nearest_folder_that_exists(tmp_path: Path) -> None:
    free = disk_free(tmp_path / "not" / "yet")
    assert free is not None and free > 0


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0 B"), (812, "812 B"), (1536, "1.5 KiB"), (3 * 2**20, "3.0 MiB"), (2**31, "2.0 GiB")],
)
def test_sizes_read_well(size: int, text: str) -> None:
    assert size_text(size) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-1, "0 s"), (59.4, "59 s"), (200, "3 min 20 s"), (18600, "5 h 10 min"), (183600, "2 d 3 h")],
)
def test_times_read_well(seconds: float, text: str) -> None:
    assert duration(seconds) == text
