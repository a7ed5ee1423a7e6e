"""A run whose base or tokenizer is not on this machine fetches it first, says how far it is, and can be stopped."""

import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.models.bases import locate
from engine.plan.files import load_plan, save_plan
from engine.run.control import send
from engine.run.control_commands import Stop
from engine.run.launch import launch
from engine.run.lock import is_alive
from engine.run.paths import RunDir, list_runs
from engine.run.view import state
from tests.support.fake_hub import Hub, serving
from tests.support.loaded import as_file
from tests.support.pictures import write_pictures
from tests.support.runs import events_of, new_run, quick_plan, run_to_end, view_of, wait_until

MODEL, CLIP = "owner/small", "openai/clip-vit-large-patch14"


@pytest.fixture
def hub(small_sd1: Path, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A hub with a model and with a tokenizer; neither is on this machine, whose home is empty."""
    for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    with serving({MODEL: small_sd1, CLIP: small_sd1 / "tokenizer"}) as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        yield server


def phases(run: RunDir) -> list[str]:
    return [str(each["phase"]) for each in events_of(run) if each["kind"] == "phase"]


def test_a_base_on_the_hub_comes_first(hub: Hub, tmp_path: Path) -> None:
    plan = quick_plan(MODEL, write_pictures(tmp_path / "pictures"), base__allow_download=True)
    run = new_run(plan)
    view = run_to_end(run)
    assert view.step == plan.train.steps
    assert phases(run)[:2] == ["downloading", "loading"]


def test_a_single_files_tokenizer_comes_first(hub: Hub, small_sd1: Path, tmp_path: Path) -> None:
    file = as_file(small_sd1, tmp_path / "models" / "m.safetensors")
    shutil.rmtree(file.parent / "tokenizer")
    plan = quick_plan(file, write_pictures(tmp_path / "pictures"))
    written = tmp_path / "plan.toml"
    save_plan(written, plan)
    command = [sys.executable, "-m", "sdtrain_tui", "run", str(written), "--plain"]
    refused = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert refused.returncode == 2 and "base.tokenizer" in refused.stderr and not hub.asked
    allowed = [*command, "--allow-download"]
    done = subprocess.run(allowed, capture_output=True, text=True, check=False, timeout=180)
    assert done.returncode == 0, done.stderr
    (run,) = list_runs()
    assert phases(run)[:2] == ["downloading", "loading"]
    assert [line for line in hub.asked if "merges.txt" in line and line.startswith("GET")]
    again = new_run(load_plan(run.plan_file))
    hub.asked.clear()
    run_to_end(again)
    assert hub.asked == [] and phases(again)[0] == "loading"


def test_a_stop_ends_the_download_and_a_resume_goes_on_with_it(hub: Hub, tmp_path: Path) -> None:
    hub.gate.clear()
    plan = quick_plan(MODEL, write_pictures(tmp_path / "pictures"), base__allow_download=True)
    run = new_run(plan)
    launch(run)
    wait_until(hub.waiting.is_set, 60, "the middle of a file")
    wait_until(lambda: view_of(run).progress is not None, 60, "progress")
    assert state(view_of(run), True, time.time()) == "preparing"
    send(run, Stop())
    wait_until(lambda: not is_alive(run), 60, "the end")
    assert view_of(run).stopped is not None
    assert locate(MODEL, allow_download=True).path is None
    hub.gate.set()
    run_to_end(run)


def test_a_hub_that_does_not_answer_ends_the_run_with_the_way_out(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    plan = quick_plan(MODEL, write_pictures(tmp_path / "pictures"), base__allow_download=True)
    run = new_run(plan)
    launch(run)
    wait_until(lambda: not is_alive(run), 120, "the end")
    failed = view_of(run).failed
    assert failed is not None and "could not be downloaded" in failed.what
    assert f"download {MODEL}" in failed.fix
