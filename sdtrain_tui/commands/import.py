"""`sdtrain import FILE|COMMAND -o plan.toml`: another tool's settings as a plan, and what became of each line."""

from __future__ import annotations

import argparse
import shlex
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from sdtrain_tui.codes import DONE
from sdtrain_tui.commands.plans import set_argument
from sdtrain_tui.commands.texts import clean, print_json, short, writable_name

if TYPE_CHECKING:
    from engine.planning.imports.base import Line, Reading

TITLES = {
    "same": "carried over",
    "renamed": "carried over under another name",
    "changed": "carried over with another value or unit",
    "default": "not said there, taken as that tool takes it",
    "left": "left out",
}


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "source",
        metavar="FILE|COMMAND",
        nargs="+",
        help="settings of another tool (TOML, JSON, YAML, a shell script), or the command that starts a training, "
        "in quotes or behind --",
    )
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        metavar="FILE",
        help="the plan file; without it only the report is printed",
    )
    parser.add_argument("--force", action="store_true", help="write it although the file is there")
    set_argument(parser)
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(args: argparse.Namespace) -> int:
    from engine.planning.imports import plan_of, read_settings

    writable_name("-o", args.output)
    source = args.source[0] if len(args.source) == 1 else shlex.join(args.source)
    made = read_settings(source, args.sets)
    if not args.json:
        _print(made)
    plan = plan_of(made, source if len(source) <= 80 else f"{source[:77]}...")
    if args.output is not None:
        from engine.plan.files import save_plan

        save_plan(args.output, plan, replace=args.force)
    if args.json:
        told = [
            {key: value for key, value in asdict(line).items() if value not in ("", None)}
            for line in made.lines
        ]
        print_json({"tool": made.tool, "plan": args.output and args.output.absolute(), "lines": told})
    elif args.output is not None:
        print(f"wrote {args.output}\nlook at it: sdtrain check {args.output}")
    else:
        print("no plan was written: give -o plan.toml", file=sys.stderr)
    return DONE


def _print(made: Reading) -> None:
    print(f"these are settings of {made.tool}; method {made.method}")
    for status, title in TITLES.items():
        lines = [line for line in made.lines if line.status == status]
        if lines:
            print(f"{title}:")
        for line in lines:
            print(short(clean(f"  {_text(line)}")))


def _text(line: Line) -> str:
    there = f"{line.name} = {_short(line.value)}" if line.name else ""
    here = f"{line.key} = {_short(line.given)}" if line.key else ""
    said = " -> ".join(part for part in (there, here) if part)
    return f"{said}  ({line.why})" if line.why else said


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
