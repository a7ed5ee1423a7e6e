"""Where a run's folder is while an engine works in it: the engine's working folder, which moves when it is moved."""

from __future__ import annotations

import os
from pathlib import Path

from engine.run.paths import RunDir


def settle(path: Path) -> RunDir:
    """Make the run's folder this process's working folder, and name the run by it.

    All its files are then found where the folder is, however often it is moved on its disk, and nothing is ever
    made anew at a place that it has left.
    """
    os.chdir(path)
    return RunDir(Path())


def is_gone(run: RunDir) -> bool:
    """Was the folder removed, or what makes it a run? A disk that does not answer is no sign of it."""
    for file in (run.plan_file, run.events_file):
        try:
            file.stat()
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError:
            return False
        return False
    return True


def location(run: RunDir) -> Path | None:
    """The folder's path at this moment; none where it has none any more."""
    try:
        return run.path.absolute()
    except FileNotFoundError:
        return None
