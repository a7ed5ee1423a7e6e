"""The command `sdtrain`: finds the command that is meant, and turns every way to end into an exit code."""

from __future__ import annotations

import argparse
import errno
import io
import os
import sys
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from importlib import import_module
from typing import Protocol

from engine.errors import UserError
from sdtrain_tui.codes import BAD_INPUT, DONE, FAILED, INTERRUPTED
from sdtrain_tui.commands.texts import Shown, print_json, short

# Help only: each command's module is imported when it is called, so that `sdtrain list` stays light.
COMMANDS: dict[str, str] = {
    "new": "make a plan: the wizard, or straight from flags",
    "import": "settings of another training tool as a plan",
    "check": "everything that is wrong or doubtful about a plan",
    "estimate": "what a plan will cost: VRAM, disk, time",
    "run": "start a plan and watch it",
    "attach": "watch a run; leaving it does not stop it",
    "list": "all runs",
    "show": "one run in detail",
    "stop": "finish the step, save, leave",
    "pause": "wait after the step, keeping everything in memory",
    "resume": "go on with a paused, stopped or crashed run",
    "save": "write a checkpoint now",
    "sample": "draw the previews, or one prompt, now",
    "export": "write a run's result in another format",
    "data": "the dataset doctor: what a folder of pictures is like",
    "caption": "write captions with a model that is on this machine",
    "doctor": "this machine: what works, what does not, what to do",
    "demo": "teach the built-in tiny model something, in minutes on a CPU",
    "schema": "the plan's fields as JSON schema or as a page; a run's events as a page",
}

EPILOG = """\
Without a command the app opens. RUN is a run's name, its folder, or a part of either that fits one run.
`sdtrain COMMAND --help` tells more. Exit codes: 0 done, 1 failed, 2 bad input, 130 interrupted or stopped.
"""


class Command(Protocol):
    """A module of sdtrain_tui.commands."""

    def arguments(self, parser: argparse.ArgumentParser) -> None: ...

    def run(self, args: argparse.Namespace) -> int: ...


def main(argv: list[str] | None = None) -> int:
    """Run one command and return its exit code. Never raises for a user's mistake."""
    words = sys.argv[1:] if argv is None else argv
    as_json = "--json" in words
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A file's name may hold what the terminal's encoding has not: it is shown escaped.
        sys.stdout.reconfigure(errors="backslashreplace")
    with redirect_stdout(Shown(sys.stdout)), redirect_stderr(Shown(sys.stderr)):
        return _run(words, as_json)


def _run(words: list[str], as_json: bool) -> int:
    try:
        code = _dispatch(words)
        sys.stdout.flush()
        return code
    except UserError as error:
        return _refuse(error, as_json)
    except BrokenPipeError:
        # The reader of a pipe has left (`sdtrain list | head`): nothing more to say, and nothing wrong.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return DONE
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return INTERRUPTED
    except OSError as error:
        what = f"{error.filename}: {error.strerror}" if error.filename else str(error)
        _refuse(UserError(what, fix="check the path, its rights and the free space"), as_json)
        return BAD_INPUT if error.errno in (errno.ENAMETOOLONG, errno.ELOOP) else FAILED
    finally:
        _tell_broken()


def _dispatch(words: list[str]) -> int:
    if not words:
        from sdtrain_tui.commands.terminal import open_app

        return open_app(start="home")
    name = words[0]
    if name in COMMANDS:
        module: Command = import_module(f"sdtrain_tui.commands.{name}")
        return _with_parser(name, module.arguments, module.run, words[1:])
    parser = _top_parser()
    if not name.startswith("-"):
        import difflib  # most of a millisecond that no command needs

        close = difflib.get_close_matches(name, COMMANDS, n=1, cutoff=0.6)
        fix = f"did you mean `sdtrain {close[0]}`?" if close else "see `sdtrain --help`"
        raise UserError(f"there is no command {name!r}", fix=fix)
    args = _parsed(parser, words)
    if isinstance(args, int):
        return args
    print(f"sdtrain {_version()}")
    return DONE


def _with_parser(
    name: str,
    arguments: Callable[[argparse.ArgumentParser], None],
    run: Callable[[argparse.Namespace], int],
    words: list[str],
) -> int:
    parser = argparse.ArgumentParser(
        prog=f"sdtrain {name}", description=f"{COMMANDS[name]}.", allow_abbrev=False
    )
    arguments(parser)
    args = _parsed(parser, words)
    return args if isinstance(args, int) else run(args)


def _tell_broken() -> None:
    """A line for each installed method that cannot be used, from a command that has looked for them."""
    methods = sys.modules.get("engine.plan.methods")
    for error in methods.BROKEN if methods is not None else ():
        print(f"warning: {error.what}: {error.why}; {error.fix}", file=sys.stderr)


def _parsed(parser: argparse.ArgumentParser, words: list[str]) -> argparse.Namespace | int:
    try:
        return parser.parse_args(words)
    except SystemExit as leave:
        # argparse leaves by itself after --help (0) and after a wrong option (2).
        return leave.code if isinstance(leave.code, int) else BAD_INPUT


def _top_parser() -> argparse.ArgumentParser:
    lines = "\n".join(f"  {name:<9} {text}" for name, text in COMMANDS.items())
    parser = argparse.ArgumentParser(
        prog="sdtrain",
        usage="sdtrain [COMMAND] [OPTIONS]",
        description=f"Train Stable Diffusion from a terminal.\n\ncommands:\n{lines}",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="store_true", help="show the version")
    return parser


def _version() -> str:
    from importlib import metadata  # a third of what `sdtrain list` would take to start

    try:
        return metadata.version("sdtrain-tui")
    except metadata.PackageNotFoundError:
        return "from a source folder"


def _refuse(error: UserError, as_json: bool) -> int:
    for line in "\n".join(error.lines()).split("\n"):
        print(short(line), file=sys.stderr)
    if as_json:
        problems = [problem.to_json() for problem in getattr(error, "problems", [])]
        print_json({"error": {"what": error.what, "why": error.why, "fix": error.fix, "problems": problems}})
    return BAD_INPUT
