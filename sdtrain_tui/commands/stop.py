"""`sdtrain stop RUN`: the engine finishes its step, saves and leaves; waits until it has."""

from __future__ import annotations

import argparse
import sys

from engine.run.control_commands import Stop
from engine.run.paths import handle
from sdtrain_tui.codes import FAILED
from sdtrain_tui.commands.ask import ask, control_arguments, living, tell


def arguments(parser: argparse.ArgumentParser) -> None:
    control_arguments(parser, 600)
    parser.add_argument("--no-wait", action="store_true", help="send it and leave")


def run(args: argparse.Namespace) -> int:
    found = living(args.run)
    answer = ask(found, Stop(), 0 if args.no_wait else args.wait, until_gone=True)
    code = tell(found, "stop", answer, args.json)
    gone = answer.state in ("stopped", "finished", "crashed", "failed", "out-of-memory", "disk-full")
    if not gone and not args.no_wait:
        print(
            f"it has not left after {args.wait:g} s; it still will: sdtrain show {handle(found)}",
            file=sys.stderr,
        )
        return FAILED
    return code
