"""`sdtrain check PLAN`: every problem at once; 0 when nothing keeps the plan from running, else 2."""

from __future__ import annotations

import argparse

from sdtrain_tui.codes import BAD_INPUT, DONE
from sdtrain_tui.commands.plans import counted, directory_argument, plan_arguments, print_problems, read_plan
from sdtrain_tui.commands.texts import print_json


def arguments(parser: argparse.ArgumentParser) -> None:
    plan_arguments(parser)
    directory_argument(parser)


def run(args: argparse.Namespace) -> int:
    from engine.plan.files import plan_hash
    from engine.planning.check import check, errors_of

    plan = read_plan(args)
    problems = check(plan, directory=args.dir)
    wrong = bool(errors_of(problems))
    if args.json:
        print_json(
            {
                "plan": str(args.plan),
                "name": plan.name,
                "hash": plan_hash(plan),
                "ok": not wrong,
                "problems": [problem.to_json() for problem in problems],
            }
        )
    else:
        print_problems(problems, to_errors=False)
        print(
            f"{args.plan}: {counted(problems)}"
            + ("" if wrong else f"; start it with: sdtrain run {args.plan}")
        )
    return BAD_INPUT if wrong else DONE
