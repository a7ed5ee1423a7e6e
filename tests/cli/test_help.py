"""Help, version and wrong words; and what a light command does not load."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from sdtrain_tui.cli import COMMANDS
from tests.cli.conftest import Cli

SHARED = {"__init__", "ask", "child", "follow", "plans", "start", "terminal", "texts"}
HEAVY = {"textual", "torch", "diffusers", "transformers", "peft", "accelerate"}


def loaded(cli: Cli, *words: str) -> set[str]:
    """The top-level modules that a command loads."""
    code = (
        "import atexit, json, sys\nfrom sdtrain_tui.cli import main\ncode = main(sys.argv[1:])\n"
        "print(json.dumps(sorted({name.partition('.')[0] for name in sys.modules})), file=sys.stderr)"
    )
    argv = [cli.argv()[0], "-c", code, *words]
    done = subprocess.run(argv, capture_output=True, text=True, env=cli.env, cwd=cli.folder, check=True)
    return set(json.loads(done.stderr.splitlines()[-1]))


def test_every_command_has_a_file_and_every_file_a_command() -> None:
    folder = Path(__file__).parents[2] / "sdtrain_tui" / "commands"
    assert {path.stem for path in folder.glob("*.py")} - SHARED == set(COMMANDS)


@pytest.mark.parametrize("name", list(COMMANDS))
def test_each_command_explains_itself(cli: Cli, name: str) -> None:
    done = cli.process(name, "--help")
    assert done.code == 0 and not done.err
    assert f"usage: sdtrain {name}" in done.out
    assert COMMANDS[name].split(":")[0] in " ".join(done.out.split())


def test_the_help_lists_every_command_and_the_exit_codes(cli: Cli) -> None:
    done = cli.process("--help")
    assert done.code == 0
    assert all(f"  {name} " in done.out for name in COMMANDS)
    assert "130 interrupted" in done.out


def test_the_version_is_told(cli: Cli) -> None:
    done = cli.process("--version")
    assert done.code == 0 and done.out.startswith("sdtrain ")


@pytest.mark.parametrize(
    "words", [("lits",), ("--nothing",), ("list", "--nothing"), ("show",), ("export", "run")]
)
def test_wrong_words_are_bad_input(cli: Cli, words: tuple[str, ...]) -> None:
    done = cli.process(*words)
    assert done.code == 2 and done.err and not done.out


def test_a_misspelt_command_gets_a_suggestion(cli: Cli) -> None:
    assert "sdtrain list" in cli("lits").err


def test_without_a_terminal_the_app_says_so(cli: Cli) -> None:
    done = cli.process()
    assert done.code == 2 and "needs a terminal" in done.err


@pytest.mark.parametrize(
    "words", [("--help",), ("list",), ("list", "--help"), ("show", "--help"), ("stop", "--help")]
)
def test_light_commands_load_neither_pydantic_nor_numpy_nor_the_app(cli: Cli, words: tuple[str, ...]) -> None:
    assert not loaded(cli, *words) & (HEAVY | {"pydantic", "numpy", "PIL", "rich"})


@pytest.mark.parametrize(
    "words", [("doctor",), ("schema",), ("new", "--help"), ("data", "."), ("check", "PLAN")]
)
def test_no_planning_command_loads_torch_or_the_app(
    cli: Cli, words: tuple[str, ...], plan_file: Path
) -> None:
    assert not loaded(cli, *(str(plan_file) if word == "PLAN" else word for word in words)) & HEAVY
