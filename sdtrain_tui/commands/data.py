"""`sdtrain data PATH`: the dataset doctor; it only reads."""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

from engine.errors import UserError
from engine.files import expanded
from sdtrain_tui.codes import BAD_INPUT, DONE
from sdtrain_tui.commands.texts import clean, print_json


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "path", metavar="PATH", type=Path, help="a folder of pictures or shards, a .tar, or a pattern"
    )
    parser.add_argument(
        "--resolution", type=int, default=512, help="the side it will be trained at (default 512)"
    )
    parser.add_argument("--trigger", default="", help="the trigger word")
    parser.add_argument("--deep", action="store_true", help="decode every picture and look for duplicates")
    parser.add_argument("--flat", action="store_true", help="leave sub-folders out")
    parser.add_argument("--no-bucket", action="store_true", help="train squares")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(args: argparse.Namespace) -> int:
    from engine.dataset.scan import scan

    _refuse_resolution(args.resolution)
    report = scan(
        expanded(args.path),
        resolution=args.resolution,
        trigger=args.trigger,
        bucket=not args.no_bucket,
        recursive=not args.flat,
        deep=args.deep,
    )
    if args.json:
        print_json(report.to_json())
    else:
        width = min(110, shutil.get_terminal_size().columns)
        print("\n".join(clean(line) for line in report.text(width).splitlines()))
    return BAD_INPUT if report.errors else DONE


def _refuse_resolution(resolution: int) -> None:
    """UserError for a side that no plan may have."""
    from engine.plan.methods import DEFAULT_METHOD
    from engine.plan.schema import plan_fields

    field = next(field for field in plan_fields(DEFAULT_METHOD) if field.key == "data.resolution")
    low, high = int(field.minimum or 0), int(field.maximum or 0)
    if not low <= resolution <= high:
        why, fix = f"a plan has {low} to {high} pixels", "give the side that it will be trained at"
        raise UserError("--resolution is out of range", why, fix)
