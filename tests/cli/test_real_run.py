"""One real training through the command: run, watch, export files, resume."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.plan.files import dumps
from engine.run.paths import find_run
from tests.cli.conftest import Cli
from tests.support.runs import quick_plan

pytest.importorskip("torch")


def test_run_trains_and_names_the_files(cli: Cli, pictures: Path, home: Path, tmp_path: Path) -> None:
    file = tmp_path / "quick.toml"
    file.write_text(dumps(quick_plan("builtin:tiny", pictures, train__steps=2, checkpoints__every=1)))
    done = cli("run", str(file))
    assert done.code == 0, done.err
    assert "step 2/2" in done.out and "quick: finished at step 2 of 2" in done.out
    paths = [
        Path(line.split(": ")[1].split(" (")[0]) for line in done.out.splitlines() if ".safetensors (" in line
    ]
    assert paths and all(path.is_file() for path in paths)
    assert cli("show", "quick", "--json").json["state"] == "finished"
    run = find_run("quick")
    assert cli("run", str(file), "--dir", str(run.path)).code == 2
    exported = cli("export", "quick", "--format", "kohya", "--step", "1", "-o", "mine.safetensors", "--json")
    assert exported.code == 0, exported.err
    assert (cli.folder / "mine.safetensors").stat().st_size == exported.json["exported"][0]["bytes"]
    wrong = cli("export", "quick", "--format", "kohya", "--step", "77")
    assert wrong.code == 2 and "no checkpoint of step 77" in wrong.err


def test_run_refuses_a_wrong_plan_before_it_makes_a_folder(cli: Cli, plan_file: Path, home: Path) -> None:
    done = cli("run", str(plan_file), "--set", "train.warmup=5000", "--json")
    assert done.code == 2
    assert [problem["key"] for problem in done.json["error"]["problems"]] == ["train.warmup"]
    assert not (home / "runs").exists()


def test_a_detached_run_goes_on_can_be_stopped_and_resumed(cli: Cli, pictures: Path, tmp_path: Path) -> None:
    file = tmp_path / "quick.toml"
    file.write_text(dumps(quick_plan("builtin:tiny", pictures, train__steps=100_000, checkpoints__every=0)))
    started = cli("run", str(file), "--detach", "--json")
    assert started.code == 0 and started.json["run"] == "quick"
    assert cli("stop", "quick").code == 0
    assert cli("list", "--json").json[0]["state"] == "stopped"
    assert cli("resume", "quick").code == 0
    assert cli("stop", "quick", "--json").json["state"] == "stopped"
