"""What the commands that take a PLAN share: reading it, the --set option, printing problems."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from engine.errors import UserError
from sdtrain_tui.commands.texts import clean, short

if TYPE_CHECKING:
    from engine.plan.problems import Problem
    from engine.plan.schema import Plan


def plan_arguments(parser: argparse.ArgumentParser) -> None:
    """PLAN, --set and --json."""
    parser.add_argument("plan", metavar="PLAN", type=Path, help="a plan file (TOML)")
    set_argument(parser)
    parser.add_argument("--json", action="store_true", help="print JSON")


def directory_argument(parser: argparse.ArgumentParser) -> None:
    """--dir, for a command that only looks at the disk there."""
    parser.add_argument(
        "--dir",
        type=Path,
        metavar="RUN_DIR",
        help="the folder that the run is to have: its disk is looked at",
    )


def set_argument(parser: argparse.ArgumentParser) -> None:
    """--set KEY=VALUE, as often as wanted."""
    parser.add_argument(
        "--set",
        dest="sets",
        metavar="KEY=VALUE",
        action="append",
        default=[],
        help="override a field of the plan, for example train.steps=200 (repeatable)",
    )


def read_plan(args: argparse.Namespace) -> Plan:
    """The plan that the arguments name, with --set applied."""
    from engine.plan.files import load_plan

    try:
        return load_plan(args.plan, args.sets)
    except UserError:
        refuse_foreign(args.plan)
        raise


def refuse_foreign(path: Path) -> None:
    """UserError where a file holds another tool's settings, with the command that makes a plan of them."""
    from engine.planning.imports import recognised

    if tool := recognised(path):
        what = f"{path} is no plan: it holds settings of {tool}"
        raise UserError(
            what, "they have other names and units", f"sdtrain import {shlex.quote(str(path))} -o plan.toml"
        )


def print_problems(problems: Sequence[Problem], to_errors: bool = True) -> None:
    """Every problem as a short paragraph, on stderr or stdout."""
    for problem in problems:
        for line in problem.text().splitlines():
            print(short(clean(line)), file=sys.stderr if to_errors else sys.stdout)


def counted(problems: Sequence[Problem]) -> str:
    """How many errors and warnings, in words."""
    errors = sum(problem.level == "error" for problem in problems)
    warnings = len(problems) - errors
    parts = [
        f"{count} {word}{'' if count == 1 else 's'}"
        for count, word in ((errors, "error"), (warnings, "warning"))
        if count
    ]
    return " and ".join(parts) or "no problems"
