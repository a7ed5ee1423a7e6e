"""Fixtures for all tests; every child process runs with one thread and its own home."""

from __future__ import annotations

import gc
import os
import signal
import threading
from pathlib import Path

import hypothesis
import pytest
from hypothesis import settings

from engine.cost.machine import Machine
from tests.support.plans import GIB

os.environ["OMP_NUM_THREADS"] = "1"
os.environ["HF_HUB_OFFLINE"] = "1"
# No limit of an example's time: other processes may hold the machine for longer than the 200 ms of hypothesis.
hypothesis.settings.register_profile(
    "sdtrain", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("sdtrain")
# A shell that starts this in the background lets children ignore Ctrl-C, which some tests send.
if threading.current_thread() is threading.main_thread():
    signal.signal(signal.SIGINT, signal.default_int_handler)


settings.register_profile("soak", max_examples=5000, deadline=None)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--learning", type=Path, help="folder for what the learning tests draw and measure")


LONG = ("learning", "demo", "packaging", "benchmarks", "worker")
"""Folders whose tests take longest: with `--dist worksteal` each of two workers begins with half of them, so that none
is left alone with a long one at the end."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    tests = Path(__file__).parent
    long: dict[Path, list[pytest.Item]] = {}
    rest: list[pytest.Item] = []
    for item in items:
        if tests in item.path.parents and item.path.relative_to(tests).parts[0] in LONG:
            long.setdefault(item.path, []).append(item)
        else:
            rest.append(item)
    halves: tuple[list[pytest.Item], list[pytest.Item]] = ([], [])
    # A file's tests share what is made for them, so files are dealt out whole.
    for number, file in enumerate(
        sorted(long, key=lambda file: (LONG.index(file.relative_to(tests).parts[0]), file))
    ):
        halves[number % 2].extend(long[file])
    first = max(0, len(items) // 2 - len(halves[0]))
    items[:] = [*halves[0], *rest[:first], *halves[1], *rest[first:]]


def pytest_collection_finish() -> None:
    # Imports and collected tests live for ever. Looking them over for garbage took a tenth of the time in which a model
    # is opened.
    gc.collect()
    gc.freeze()


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A fresh SDTRAIN_HOME: runs and caches of this test go there."""
    folder = tmp_path / "home"
    folder.mkdir()
    monkeypatch.setenv("SDTRAIN_HOME", str(folder))
    return folder


@pytest.fixture(scope="session")
def small_sd1(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random SD 1.x model of two levels as a diffusers folder: for all that does not ask which blocks there are."""
    from tests.support.models import write_small_sd1

    return write_small_sd1(tmp_path_factory.mktemp("models") / "small")


@pytest.fixture(scope="session")
def sd1_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random narrow SD 1.x model as a diffusers folder, with the real one's blocks."""
    from tests.support.models import write_sd1

    return write_sd1(tmp_path_factory.mktemp("models") / "sd1")


@pytest.fixture(scope="session")
def narrow_models(sd1_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A random narrow model of each family and prediction type: sd1, sd2-eps, sd2-v (no signal at the end), sdxl."""
    from tests.support.models import write_sd2, write_sdxl

    folder = tmp_path_factory.mktemp("models")
    return {
        "sd1": sd1_folder,
        "sd2-eps": write_sd2(folder / "sd2-eps"),
        "sd2-v": write_sd2(folder / "sd2-v", "v_prediction", zero_terminal_snr=True),
        "sdxl": write_sdxl(folder / "sdxl"),
    }


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Six random pictures with captions, two of them wide."""
    from tests.support.pictures import write_pictures

    return write_pictures(tmp_path / "pictures", wide=2)


@pytest.fixture
def no_gpu() -> Machine:
    """A machine without a card."""
    return Machine((), "no NVIDIA driver answers", "", 2, 16 * GIB)
