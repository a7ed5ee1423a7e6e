"""Commands that get what is missing, as they work when typed: with this program's own Python, wherever PATH leads."""

from __future__ import annotations

import shlex
import shutil
import sys
from importlib.util import find_spec
from pathlib import Path


def pip_install(*requirements: str) -> str:
    """The command that installs packages into this program's environment; uv's where it has no pip."""
    return shlex.join([*_pip("install"), *requirements])


def pip_uninstall(*packages: str) -> str:
    """The command that takes packages out of this program's environment."""
    return shlex.join([*_pip("uninstall"), *packages])


def hub_download(model: str, *files: str) -> str:
    """The command that fetches a model, or some of its files, into the hub's cache."""
    return shlex.join([_program("hf"), "download", model, *files])


def _pip(verb: str) -> list[str]:
    if find_spec("pip") is None:
        return ["uv", "pip", verb, "--python", sys.executable]
    return [_interpreter(), "-m", "pip", verb]


def _interpreter() -> str:
    """`python` where that is this one, else its path."""
    found = shutil.which("python")
    # Not resolved: a virtual environment's python is a link to the one outside.
    return "python" if found and Path(found).absolute() == Path(sys.executable).absolute() else sys.executable


def _program(name: str) -> str:
    """A command of this environment: its bare name where the shell finds this one or where it is not here."""
    own = Path(sys.executable).parent / name
    found = shutil.which(name)
    return name if not own.exists() or (found and Path(found).absolute() == own.absolute()) else str(own)
