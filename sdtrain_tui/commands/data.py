"""`sdtrain data PATH`: the dataset doctor; it only reads."""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from engine.errors import UserError
from engine.files import expanded
from sdtrain_tui.codes import BAD_INPUT, DONE
from sdtrain_tui.commands.texts import clean, print_json

if TYPE_CHECKING:
    from engine.dataset.report import DatasetReport


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "path", metavar="PATH", type=Path, help="a folder of pictures or shards, a .tar, or a pattern"
    )
    parser.add_argument(
        "--resolution", type=int, default=512, help="the side it will be trained at (default 512)"
    )
    parser.add_argument(
        "--more-resolutions", metavar="SIDES", default="", help="further sides to train at, as 768,1024"
    )
    parser.add_argument("--bucket-min", type=int, default=0, help="shortest side of a bucket")
    parser.add_argument("--bucket-max", type=int, default=0, help="longest side of a bucket")
    parser.add_argument("--trigger", default="", help="the trigger word")
    parser.add_argument(
        "--masks",
        choices=("off", "alpha", "files"),
        default="off",
        help="what of each picture is learnt: all of it, what is opaque, or what is white in its mask",
    )
    parser.add_argument(
        "--mask-path", metavar="FOLDER", type=Path, help="a folder of masks of the same names"
    )
    parser.add_argument("--deep", action="store_true", help="decode every picture and look for duplicates")
    parser.add_argument("--flat", action="store_true", help="leave sub-folders out")
    parser.add_argument("--no-bucket", action="store_true", help="train squares")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(args: argparse.Namespace) -> int:
    from engine.plan.data import Data
    from engine.plan.layouts import read_layout
    from engine.planning.data import scan_classes, scan_sets

    more = _sides(args.more_resolutions)
    for side in (args.resolution, *more):
        _refuse_resolution(side)
    path = expanded(args.path)
    layout = read_layout(path)
    mask_path = "" if args.mask_path is None else str(expanded(args.mask_path).absolute())
    data = Data(
        path=str(path),
        resolution=args.resolution,
        more_resolutions=more,
        bucket_min=max(0, args.bucket_min),
        bucket_max=max(0, args.bucket_max),
        trigger=args.trigger,
        bucket=not args.no_bucket,
        recursive=not args.flat,
        masks="files" if mask_path else args.masks,
        mask_path=mask_path,
        sets=layout.placed() if layout else [],
    )
    apart = [Path(mask_path)] if mask_path else []
    report, classes = scan_sets(data, apart, deep=args.deep), scan_classes(data, deep=args.deep)
    if args.json:
        found = report.to_json()
        print_json(found if classes is None else {**found, "classes": classes.to_json()})
        return _code(report, classes)
    width = min(110, shutil.get_terminal_size().columns)
    parts = [f"{layout.what}\n"] if layout else []
    parts += [report.text(width), *(["\nclass pictures", classes.text(width)] if classes else [])]
    print("\n".join(clean(line) for part in parts for line in part.splitlines()))
    return _code(report, classes)


def _code(*reports: DatasetReport | None) -> int:
    return BAD_INPUT if any(report is not None and report.errors for report in reports) else DONE


def _sides(text: str) -> list[int]:
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if not all(part.isdecimal() for part in parts):
        why = f"{clean(text)} is no list of numbers"
        raise UserError("--more-resolutions cannot be read", why, "give sides divided by commas, as 768,1024")
    return [int(part) for part in parts]


def _refuse_resolution(resolution: int) -> None:
    """UserError for a side that no plan may have."""
    from engine.plan.methods import DEFAULT_METHOD
    from engine.plan.schema import plan_fields

    field = next(field for field in plan_fields(DEFAULT_METHOD) if field.key == "data.resolution")
    low, high = int(field.minimum or 0), int(field.maximum or 0)
    if not low <= resolution <= high:
        why, fix = f"a plan has {low} to {high} pixels", "give the side that it will be trained at"
        raise UserError(f"a resolution of {resolution} is out of range", why, fix)
