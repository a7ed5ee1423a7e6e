"""A copy of the source tree in which a test follows a recipe of CONTRIBUTING.md, as a contributor would."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ("engine", "sdtrain_tui", "themes")


class Scratch:
    """The copy below `folder`; its programs run in processes of their own and see no other tree."""

    def __init__(self, folder: Path) -> None:
        self.tree, self.work = folder / "tree", folder / "work"
        self.work.mkdir(parents=True)
        # What is compiled stays good, for the copies keep their times; a file that is being written has a longer name.
        skip = shutil.ignore_patterns("*.pyc.*")
        for name in SOURCE:
            shutil.copytree(ROOT / name, self.tree / name, ignore=skip)
        # Top-level modules of their own, where the tree has any.
        for module in ROOT.glob("*.py"):
            shutil.copy(module, self.tree)

    def edit(self, file: str, old: str, new: str) -> None:
        """Replace `old`, which must stand once in the file."""
        path = self.tree / file
        text = path.read_text(encoding="utf-8")
        assert text.count(old) == 1, f"{file} has {text.count(old)} times: {old}"
        path.write_text(text.replace(old, new), encoding="utf-8")

    def write(self, file: str, text: str) -> None:
        """A new file."""
        assert not (self.tree / file).exists()
        (self.tree / file).write_text(text, encoding="utf-8")

    def python(self, *arguments: str, code: int = 0) -> str:
        """What a Python of the copy prints; both streams are shown when it does not leave with `code`."""
        clean = {name: value for name, value in os.environ.items() if name != "TMUX"}
        done = subprocess.run(
            [sys.executable, "-P", *arguments],
            capture_output=True,
            text=True,
            cwd=self.work,
            env={
                **clean,
                "PYTHONPATH": str(self.tree),
                "SDTRAIN_HOME": str(self.work / "home"),
                "OMP_NUM_THREADS": "1",
            },
            check=False,
            timeout=300,
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout

    def sdtrain(self, *arguments: str, code: int = 0) -> str:
        """What the command of the copy prints."""
        return self.python("-m", "sdtrain_tui", *arguments, code=code)
