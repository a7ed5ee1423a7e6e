"""GPU and host readings: a stand-in driver library, a stand-in module, and what each failure says."""

import json
import os
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from sdtrain_tui.gpu import GpuMonitor, HostSource, MachineReading
from sdtrain_tui.nvml import NvmlSource, reason_for, visible_uuids

READER = """
import json, sys
from dataclasses import asdict
from sdtrain_tui.nvml import NvmlSource
source = NvmlSource(visible="0")
print(json.dumps([([asdict(g) for g in gpus], why) for gpus, why in (source.read() for _ in range(int(sys.argv[1])))]))
"""


@pytest.fixture(scope="module")
def stub(tmp_path_factory: pytest.TempPathFactory) -> Path:
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler for the stand-in library; the module tests below still run")
    folder = tmp_path_factory.mktemp("nvml")
    source = Path(__file__).with_name("nvml_stub.c")
    library = folder / "libnvidia-ml.so.1"
    subprocess.run([compiler, "-shared", "-fPIC", "-o", str(library), str(source)], check=True)
    return folder


def readings(stub: Path, mode: str, times: int = 1) -> list[Any]:
    env = {**os.environ, "LD_LIBRARY_PATH": str(stub), "SDTRAIN_STUB_NVML": mode, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", READER, str(times)], env=env, capture_output=True, text=True, check=True
    )
    found: list[Any] = json.loads(done.stdout)
    return found


def test_a_driver_library_gives_all_figures(stub: Path) -> None:
    (gpus, why) = readings(stub, "ok")[0]
    assert why == ""
    assert [gpu["uuid"] for gpu in gpus] == ["GPU-00000000-aaaa", "GPU-00000001-aaaa"]
    first = gpus[0]
    assert (first["util"], first["mem_used"], first["mem_total"]) == (97, 40 << 30, 80 << 30)
    assert (first["temp"], first["power"], first["power_limit"]) == (61, 320.5, 700.0)
    assert [gpu["used"] for gpu in gpus] == [True, False]


def test_what_a_gpu_does_not_support_is_unknown_and_never_zero(stub: Path) -> None:
    (gpus, why) = readings(stub, "mig", 3)[2]
    assert why == ""
    assert (gpus[0]["util"], gpus[0]["power"], gpus[0]["fan"]) == (None, None, None)
    assert gpus[0]["temp"] == 61


@pytest.mark.parametrize(("mode", "says"), [("mismatch", "reboot"), ("nodriver", "modprobe nvidia")])
def test_a_library_that_does_not_start_says_what_to_do(stub: Path, mode: str, says: str) -> None:
    for gpus, why in readings(stub, mode, 2):
        assert gpus == []
        assert says in why


def test_after_an_unknown_error_the_library_is_started_again(stub: Path) -> None:
    found = [[gpu["util"] for gpu in gpus] for gpus, _ in readings(stub, "flaky", 4)]
    assert found == [[97, 0], [None, None], [97, 0], [97, 0]]


class StubError(Exception):
    def __init__(self, value: int) -> None:
        super().__init__(f"error {value}")
        self.value = value


def stub_module(**changes: Any) -> SimpleNamespace:
    """A module in the form of pynvml with one GPU, each call replaceable."""
    calls: dict[str, Any] = {
        "NVMLError": StubError,
        "NVML_TEMPERATURE_GPU": 0,
        "nvmlInit": lambda: None,
        "nvmlShutdown": lambda: None,
        "nvmlDeviceGetCount": lambda: 1,
        "nvmlDeviceGetHandleByIndex": lambda index: index,
        "nvmlDeviceGetUUID": lambda handle: b"GPU-one",
        "nvmlDeviceGetName": lambda handle: "RTX",
        "nvmlDeviceGetMemoryInfo": lambda handle: SimpleNamespace(used=1, total=2),
        "nvmlDeviceGetUtilizationRates": lambda handle: SimpleNamespace(gpu=50),
        "nvmlDeviceGetPowerUsage": lambda handle: 100_000,
        "nvmlDeviceGetEnforcedPowerLimit": lambda handle: 200_000,
        "nvmlDeviceGetTemperature": lambda handle, sensor: 40,
        "nvmlDeviceGetFanSpeed": lambda handle: 30,
        "nvmlDeviceGetComputeRunningProcesses": lambda handle: [SimpleNamespace(pid=77, usedGpuMemory=5)],
    }
    return SimpleNamespace(**{**calls, **changes})


def failing(code: int) -> Any:
    def call(*_: Any) -> Any:
        raise StubError(code)

    return call


def test_the_gpu_that_holds_the_engines_process_is_marked_as_used() -> None:
    source = NvmlSource(module=stub_module())
    assert source.read(frozenset({77}))[0][0].used is True
    assert source.read(frozenset({77}))[0][0].run_memory == 5
    assert source.read(frozenset({78}))[0][0].used is None


def test_a_call_that_is_not_supported_is_asked_only_once() -> None:
    asked: list[int] = []

    def fan(_: Any) -> int:
        asked.append(1)
        raise StubError(3)

    source = NvmlSource(module=stub_module(nvmlDeviceGetFanSpeed=fan))
    assert [source.read()[0][0].fan for _ in range(3)] == [None] * 3
    assert len(asked) == 1


def test_a_lost_gpu_gives_its_reason_and_comes_back() -> None:
    module = stub_module(nvmlDeviceGetHandleByIndex=failing(15))
    source = NvmlSource(module=module)
    gpus, why = source.read()
    assert gpus == ()
    assert "fallen off the bus" in why
    module.nvmlDeviceGetHandleByIndex = lambda index: index
    assert source.read()[1] == ""


def test_every_start_error_names_a_next_step() -> None:
    for code in (4, 9, 12, 15, 18, 999, 12345):
        assert ":" in reason_for(code, "text")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, None),
        ("", set()),
        ("-1", set()),
        ("1", {"GPU-b1"}),
        ("GPU-a", {"GPU-a0"}),
        ("1,7,0", {"GPU-b1"}),
        ("GPU-", set()),
        ("MIG-GPU-a0/1/0", set()),
    ],
)
def test_visible_devices_are_read_as_cuda_reads_them(value: str | None, expected: set[str] | None) -> None:
    assert visible_uuids(value, [(0, "GPU-a0"), (1, "GPU-b1")]) == expected


def test_the_host_reading_counts_the_run_and_its_children() -> None:
    reading, pids = HostSource().read(os.getpid())
    assert os.getpid() in pids
    assert reading.run_memory is not None and reading.run_memory > 1_000_000
    assert reading.mem_total is not None and reading.mem_used is not None
    assert 0 < reading.mem_used <= reading.mem_total
    assert HostSource().read(None)[0].run_memory is None


def test_a_run_that_has_gone_reads_as_unknown() -> None:
    child = subprocess.Popen([sys.executable, "-c", "pass"])
    child.wait()
    assert HostSource().read(child.pid)[0].run_cpu is None


def test_the_monitor_publishes_and_ends() -> None:
    before = set(threading.enumerate())
    enough = threading.Event()
    seen: list[MachineReading] = []

    def take(reading: MachineReading) -> None:
        seen.append(reading)
        if any(r.gpus for r in seen) and any(r.host.cpu is not None for r in seen):
            enough.set()

    monitor = GpuMonitor(interval=0.01, on_reading=take, module=stub_module())
    monitor.watch(os.getpid())
    monitor.start()
    assert enough.wait(20)
    monitor.stop(20)
    assert monitor.latest.gpus[0].name == "RTX"
    own = set(threading.enumerate()) - before
    assert not [thread for thread in own if thread.name.startswith("sdtrain-")]


def test_a_blocked_driver_leaves_the_host_figures_alive_and_makes_the_gpus_stale() -> None:
    release = threading.Event()
    module = stub_module(nvmlDeviceGetCount=lambda: release.wait(30) and 0)
    monitor = GpuMonitor(interval=0.01, module=module)
    monitor.start()
    deadline = time.monotonic() + 20
    while monitor.latest.host.cpu is None and time.monotonic() < deadline:
        threading.Event().wait(0.01)
    assert monitor.latest.host.cpu is not None
    assert monitor.latest.gpus == ()
    release.set()
    monitor.stop(20)
    assert MachineReading(gpus_at=10.0).stale(15.5)
    assert not MachineReading(gpus_at=10.0).stale(14.5)
