"""`sdtrain pause RUN`: wait after the present step; the engine keeps its memory."""

from __future__ import annotations

import argparse

from engine.run.control_commands import Pause
from sdtrain_tui.commands.ask import ask, control_arguments, living, tell


def arguments(parser: argparse.ArgumentParser) -> None:
    control_arguments(parser, 60)


def run(args: argparse.Namespace) -> int:
    found = living(args.run)
    return tell(found, "pause", ask(found, Pause(), args.wait), args.json)
