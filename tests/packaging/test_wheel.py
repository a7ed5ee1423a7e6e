"""The built wheel, installed where no source tree is, has everything: commands, themes, model, presets."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.pictures import write_pictures

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Installed:
    """A clean environment that has the wheel and this environment's libraries."""

    folder: Path
    work: Path

    def run(self, program: str, *arguments: str) -> str:
        """The program's output; fails with what it said on stderr."""
        clean = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        done = subprocess.run(
            [str(self.folder / "bin" / program), *arguments],
            capture_output=True,
            text=True,
            cwd=self.work,
            env={**clean, "SDTRAIN_HOME": str(self.work / "home"), "OMP_NUM_THREADS": "1"},
            check=False,
            timeout=300,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    work = tmp_path_factory.mktemp("wheel")
    build = ["-m", "build", "--wheel", "--no-isolation", "--outdir", str(work), str(ROOT)]
    subprocess.run([sys.executable, *build], check=True, capture_output=True)
    (wheel,) = work.glob("*.whl")
    folder = work / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    site = folder / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"
    # A path line adds the libraries but not their .pth files, so the editable install of this tree stays unseen.
    (site / "libraries.pth").write_text(sysconfig.get_path("purelib") + "\n")
    install = [
        "-m",
        "pip",
        "--python",
        str(folder / "bin" / "python"),
        "install",
        "-q",
        "--no-deps",
        "--no-index",
    ]
    subprocess.run([sys.executable, *install, "--ignore-installed", str(wheel)], check=True)
    return Installed(folder, work)


def test_what_runs_is_the_wheel(installed: Installed) -> None:
    where = installed.run(
        "python", "-P", "-c", "import engine, sdtrain_tui; print(engine.__file__, sdtrain_tui.__file__)"
    )
    assert where.count(str(installed.folder)) == 2
    assert json.loads(installed.run("sdtrain", "list", "--json")) is not None
    assert str(ROOT) not in installed.run("sdtrain", "doctor", "--json")


def test_the_builtin_model_and_the_presets_are_inside(installed: Installed, tmp_path: Path) -> None:
    pictures, plan = write_pictures(tmp_path / "pictures"), tmp_path / "plan.toml"
    installed.run(
        "sdtrain", "new", "--base", "builtin:tiny", "--data", str(pictures), "--name", "w", "-o", str(plan)
    )
    assert not [
        p
        for p in json.loads(installed.run("sdtrain", "check", str(plan), "--json"))["problems"]
        if p["level"] == "error"
    ]
    assert json.loads(installed.run("sdtrain", "estimate", str(plan), "--json"))


def test_the_themes_and_styles_are_inside(installed: Installed) -> None:
    script = (
        "from sdtrain_tui.themes import load_themes; from sdtrain_tui.app import SdtrainApp;"
        "found = load_themes(); print(sorted(found.themes), found.warnings, SdtrainApp.CSS_PATH)"
    )
    said = installed.run("python", "-P", "-c", script)
    assert "sdtrain-dark" in said and "[]" in said
    assert list((installed.folder / "lib").rglob("sdtrain_tui/*.tcss"))
