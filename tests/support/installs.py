"""The program installed in a clean environment: from a built wheel, or editable from this tree."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pydantic

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Installed:
    """A clean environment that has the program and this environment's libraries."""

    folder: Path
    work: Path

    @property
    def site(self) -> Path:
        """Where its packages lie."""
        return next((self.folder / "lib").glob("python*/site-packages"))

    def run(self, program: str, *arguments: str, cwd: Path | None = None, pythonpath: str = "") -> str:
        """The program's output; fails with what it said on stderr."""
        clean = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        clean |= {"PYTHONPATH": pythonpath} if pythonpath else {}
        done = subprocess.run(
            [str(self.folder / "bin" / program), *arguments],
            capture_output=True,
            text=True,
            cwd=cwd or self.work,
            env={**clean, "SDTRAIN_HOME": str(self.work / "home"), "OMP_NUM_THREADS": "1"},
            check=False,
            timeout=300,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


def from_wheel(work: Path) -> Installed:
    """Built from this tree and installed where no tree is."""
    build = ["-m", "build", "--wheel", "--no-isolation", "--outdir", str(work), str(ROOT)]
    subprocess.run([sys.executable, *build], check=True, capture_output=True)
    (wheel,) = work.glob("*.whl")
    return _installed(work, str(wheel))


def editable(work: Path) -> Installed:
    """As `pip install -e .` does it."""
    return _installed(work, "--no-build-isolation", "-e", str(ROOT))


def _installed(work: Path, *what: str) -> Installed:
    made = Installed(work / "venv", work)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(made.folder)], check=True)
    # A path line adds the libraries but not their .pth files, so the editable install of this tree stays unseen.
    (made.site / "libraries.pth").write_text(f"{Path(pydantic.__file__).parents[1]}\n")
    python = str(made.folder / "bin" / "python")
    pip = [sys.executable, "-m", "pip", "--python", python, "install", "-q", "--no-deps", "--no-index"]
    subprocess.run([*pip, "--ignore-installed", *what], check=True)
    return made
