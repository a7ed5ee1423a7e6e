"""Something else called `engine` or `sdtrain_tui`, where the user works or on PYTHONPATH, changes nothing."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.support.installs import Installed, editable, from_wheel
from tests.support.pictures import write_pictures

WRONG = "raise SystemExit('the wrong package')\n"
NOTES_PROCESSES = """
import os, sys
from pathlib import Path
with Path(__file__).with_name("processes").open("a") as file:
    file.write(" ".join(sys.orig_argv) + chr(10))
"""
QUICK = (
    "train.steps=1",
    "train.batch_size=1",
    "samples.every=0",
    "data.resolution=64",
    "hardware.device=cpu",
)
PREPARES = """
import sys
from sdtrain_tui.commands.child import run_module
run_module("engine.demo", "prepare", "lora", sys.argv[1])
"""


@pytest.fixture(scope="module", params=[editable, from_wheel], ids=["editable", "wheel"])
def installed(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Installed:
    made: Installed = request.param(tmp_path_factory.mktemp("installed"))
    return made


def _packages(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).mkdir(parents=True)
        (folder / name / "__init__.py").write_text(WRONG)
    return folder


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """A user's folder with a file `engine.py` and a runs folder called `sdtrain_tui`."""
    folder = tmp_path / "here"
    (folder / "sdtrain_tui").mkdir(parents=True)
    (folder / "engine.py").write_text(WRONG)
    return folder


def test_the_command_finds_its_own_packages(installed: Installed, tmp_path: Path) -> None:
    both = _packages(tmp_path / "both", "engine", "sdtrain_tui")
    for pythonpath in ("", ".", str(both)):
        said = installed.run("sdtrain", "list", "--json", cwd=both, pythonpath=pythonpath)
        assert isinstance(json.loads(said), list)


@pytest.mark.parametrize("form", ["file", "folder"])
def test_the_module_finds_the_engine_that_lies_beside_it(
    form: str, installed: Installed, here: Path, tmp_path: Path
) -> None:
    if form == "folder":
        (here / "engine.py").unlink()
        _packages(here, "engine")
    (here / "pydantic.py").write_text(WRONG)
    for pythonpath in ("", str(_packages(tmp_path / "other", "engine"))):
        said = installed.run("python", "-m", "sdtrain_tui", "list", "--json", cwd=here, pythonpath=pythonpath)
        assert isinstance(json.loads(said), list)


def test_every_process_of_a_run_finds_them_and_keeps_the_users_pythonpath(
    installed: Installed, here: Path, tmp_path: Path
) -> None:
    wrong = _packages(tmp_path / "wrong", "engine", "sdtrain_tui")
    plugins, plan = tmp_path / "plugins", tmp_path / "plan.toml"
    plugins.mkdir()
    (plugins / "sitecustomize.py").write_text(NOTES_PROCESSES)

    def sdtrain(*words: str) -> str:
        pythonpath = os.pathsep.join(("", str(plugins), str(wrong)))
        return installed.run("sdtrain", *words, cwd=here, pythonpath=pythonpath)

    changes = [word for change in QUICK for word in ("--set", change)]
    pictures = write_pictures(tmp_path / "pictures", count=2)
    sdtrain("new", "--base", "builtin:tiny", "--data", str(pictures), "-o", str(plan), *changes)
    sdtrain("run", str(plan), "--plain", "--dir", str(tmp_path / "run"))
    assert json.loads(sdtrain("show", str(tmp_path / "run"), "--json"))["state"] == "finished"
    out = tmp_path / "out.safetensors"
    sdtrain("export", str(tmp_path / "run"), "--format", "diffusers", "-o", str(out))
    assert out.is_file()
    # The demo's own run takes minutes of drawing; what it asks of its module goes through this function.
    (wrong / "sdtrain_tui" / "__init__.py").unlink()
    pythonpath = os.pathsep.join((str(plugins), str(wrong)))
    installed.run("python", "-P", "-c", PREPARES, str(tmp_path / "demo"), cwd=here, pythonpath=pythonpath)
    assert list((tmp_path / "demo").iterdir())
    started = (plugins / "processes").read_text()
    for module in ("engine ", "engine.worker ", "engine.worker.export ", "engine.demo prepare"):
        assert f"process.py {module}" in started, module
