"""`sdtrain estimate PLAN`: VRAM by part, disk by part, and time where an earlier run tells the speed."""

from __future__ import annotations

import argparse

from sdtrain_tui.codes import DONE
from sdtrain_tui.commands.plans import directory_argument, plan_arguments, read_plan
from sdtrain_tui.commands.texts import print_json


def arguments(parser: argparse.ArgumentParser) -> None:
    plan_arguments(parser)
    directory_argument(parser)


def run(args: argparse.Namespace) -> int:
    from engine.cost.estimate import estimate
    from engine.cost.machine import machine
    from engine.models.bases import locate
    from engine.planning.data import scan_data

    plan = read_plan(args)
    base = locate(plan.base.model, allow_download=plan.base.allow_download)
    report = None if plan.data.resolution % 8 else scan_data(plan)
    forecast = estimate(plan, base, report, machine(), args.dir)
    if args.json:
        print_json({"plan": str(args.plan), "name": plan.name, **forecast.to_json()})
    else:
        print("\n".join(forecast.lines()))
    return DONE
