"""`sdtrain estimate PLAN`: VRAM by part, disk by part, and time; `--table`: what fits which card."""

from __future__ import annotations

import argparse
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from engine.errors import UserError
from sdtrain_tui.codes import DONE
from sdtrain_tui.commands.child import run_module
from sdtrain_tui.commands.plans import directory_argument, read_plan, set_argument
from sdtrain_tui.commands.start import torch_is_here
from sdtrain_tui.commands.texts import print_json

if TYPE_CHECKING:
    from engine.cost.estimate import Estimate


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("plan", metavar="PLAN", type=Path, nargs="?", help="a plan file (TOML)")
    set_argument(parser)
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument(
        "--table",
        action="store_true",
        help="without a plan: what every method takes on every family, on cards of 8 to 80 GB",
    )
    directory_argument(parser)


def run(args: argparse.Namespace) -> int:
    if args.table:
        return _table(args.json)
    if args.plan is None:
        raise UserError("no plan is given", fix="sdtrain estimate PLAN, or sdtrain estimate --table")
    forecast, name = _forecast(args)
    if args.json:
        print_json({"plan": str(args.plan), "name": name, **forecast.to_json()})
    else:
        print("\n".join(forecast.lines()))
    return DONE


def _forecast(args: argparse.Namespace) -> tuple[Estimate, str]:
    from engine.cost.estimate import estimate
    from engine.cost.machine import machine
    from engine.cost.traced_rows import is_traced
    from engine.models.bases import locate
    from engine.planning.data import scan_data

    plan = read_plan(args)
    base = locate(plan.base.model, allow_download=plan.base.allow_download)
    look = partial(scan_data, plan) if not any(side % 8 for side in plan.data.sides) else lambda: None
    if is_traced(plan, base, machine()) or not torch_is_here():
        report = look()
    else:
        # A plan that no table has is traced once, in a process of its own, as this one has no torch, and while the
        # pictures are looked at.
        with ThreadPoolExecutor(1) as beside:
            tracing = beside.submit(run_module, "engine.tracing", str(args.plan), *args.sets)
            report = look()
            tracing.result()
    return estimate(plan, base, report, machine(), args.dir), plan.name


def _table(as_json: bool) -> int:
    from engine.planning.fit_table import fits, lines

    found = list(fits())
    if as_json:
        print_json({"fits": [{**asdict(fit), "fits": fit.fits} for fit in found]})
    else:
        print("\n".join(lines(found)))
    return DONE
