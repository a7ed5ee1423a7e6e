"""`sdtrain attach RUN`: watch a run, whether it still goes on or not."""

from __future__ import annotations

import argparse

from engine.run.paths import find_run
from sdtrain_tui.commands.start import watch, watch_arguments


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", metavar="RUN", help="its name, its folder, or a part of either")
    watch_arguments(parser)


def run(args: argparse.Namespace) -> int:
    return watch(find_run(args.run), args)
