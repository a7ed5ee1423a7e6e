"""Starting engines for the screens: slow enough for a thread, and errors come back as values."""

from __future__ import annotations

from engine.errors import UserError
from engine.run.create import create_run
from engine.run.launch import launch
from engine.run.paths import RunDir


def start(run: RunDir) -> UserError | None:
    """Start the run's engine; what kept it from beginning, if anything did."""
    try:
        launch(run)
    except UserError as error:
        return error
    return None


def start_new(toml: str, name: str) -> RunDir | UserError:
    """A new run of that plan whose engine has begun, or why not."""
    try:
        run = create_run(toml, name)
    except UserError as error:
        return error
    return start(run) or run
