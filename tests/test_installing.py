"""Commands that users are told to type get what is missing into this program's own environment."""

import shlex
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from engine import installing
from engine.installing import hub_download, pip_install, pip_uninstall

OWN = Path(sys.executable).parent


def test_the_commands_are_there_in_a_shell_whose_path_has_none_of_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    for command in (pip_install("--help"), pip_uninstall("--help"), hub_download("owner/model", "--help")):
        assert str(OWN) in command
        done = subprocess.run(command, shell=True, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr


def test_in_an_activated_environment_they_are_as_people_write_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", f"{OWN}:/usr/bin:/bin")
    assert pip_install("a>=1,<2", "b") == "python -m pip install 'a>=1,<2' b"
    assert pip_uninstall("a") == "python -m pip uninstall a"
    assert hub_download("owner/model", "x.json") == "hf download owner/model x.json"


def test_an_environment_without_pip_is_filled_by_uv(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(installing, "find_spec", lambda name: None if name == "pip" else find_spec(name))
    assert shlex.split(pip_install("a")) == ["uv", "pip", "install", "--python", sys.executable, "a"]
