"""Starting an engine and watching it: what `run`, `resume` and `demo` share."""

from __future__ import annotations

import argparse
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from engine.errors import UserError
from engine.installing import pip_install
from engine.run.create import create_run
from engine.run.launch import launch
from engine.run.paths import RunDir, handle
from sdtrain_tui.codes import DONE
from sdtrain_tui.commands.follow import follow
from sdtrain_tui.commands.plans import print_problems
from sdtrain_tui.commands.terminal import has_terminal, open_app
from sdtrain_tui.commands.texts import print_json

if TYPE_CHECKING:
    from engine.plan.schema import Plan


def watch_arguments(parser: argparse.ArgumentParser) -> None:
    """How a run is watched."""
    parser.add_argument("--plain", action="store_true", help="plain lines, also on a terminal")
    parser.add_argument("--json", action="store_true", help="print the run's events, one JSON object a line")


def torch_is_here() -> bool:
    """Is torch installed? Looks for it without importing it."""
    return _installed("torch")


def need_torch() -> None:
    """UserError where training cannot work."""
    if not torch_is_here():
        raise UserError(
            "torch is not installed here",
            "training runs on it; planning and watching do not need it",
            f"{pip_install('torch')} (see pytorch.org for your CUDA version)",
        )


def _installed(name: str) -> bool:
    try:
        return find_spec(name) is not None
    except ImportError:  # an import hook that forbids it
        return False


def checked(plan: Plan, directory: Path | None = None) -> None:
    """Print what the check finds on stderr; UserError when it keeps the plan from running."""
    from engine.plan.problems import PlanErrors
    from engine.planning.check import check, errors_of

    problems = check(plan, directory=directory)
    errors = errors_of(problems)
    print_problems([problem for problem in problems if problem.level == "warning"])
    if errors:
        raise PlanErrors(errors)


def start(plan: Plan, directory: Path | None) -> RunDir:
    """Check the plan, make its run directory and start its engine."""
    from engine.plan.files import dumps

    need_torch()
    checked(plan, directory)
    run = create_run(dumps(plan), plan.name, directory)
    launch(run)
    return run


def watch(run: RunDir, args: argparse.Namespace) -> int:
    """The monitor on a terminal, else plain lines or JSON."""
    if has_terminal() and not args.plain and not args.json:
        return open_app(start="monitor", run=run)
    return follow(run, as_json=args.json)


def detached(run: RunDir, as_json: bool) -> int:
    """Say that it runs, and how to get back to it."""
    if as_json:
        print_json({"run": run.name, "path": run.path})
    else:
        print(
            f"{run.name} runs in {run.path}\n"
            f"watch it: sdtrain attach {handle(run)}   stop it: sdtrain stop {handle(run)}"
        )
    sys.stdout.flush()
    return DONE
