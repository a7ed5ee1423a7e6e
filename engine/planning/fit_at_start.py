"""A run that starts where less memory is free than its plan needs: what it gives up for that, kept for its resumes."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.cost.estimate import estimate
from engine.cost.machine import Machine, available_memory
from engine.errors import UserError
from engine.files import read_plain, write_atomic
from engine.models.bases import BaseInfo
from engine.plan.schema import Plan
from engine.planning.ladder import SAME_BATCH, Changes, changed, closed_to, fit

MOST = 1 << 20
"""Bytes of what is kept, at most."""
CAP = "SDTRAIN_FREE_MEMORY"
"""An environment variable for tests and for who shares a machine: so many bytes count as free."""


@dataclass(frozen=True)
class Given:
    """One thing that is given up: the rung's name, what it sets, its price, and what the plan takes with it in
    bytes."""

    name: str
    changes: Changes
    price: str
    takes: int


@dataclass(frozen=True)
class Refit:
    """What a run that starts gives up; `needs` is what its plan takes as it is written, `free` what there was."""

    needs: int
    free: int
    given: tuple[Given, ...]

    def of(self, plan: Plan) -> Plan:
        """The plan that is trained."""
        for each in self.given:
            made = changed(plan, each.changes)
            if made is None:
                raise UserError(
                    f"the run cannot be fitted by {each.name}",
                    "its plan or its kept choices were changed by hand",
                    'remove fit.json from the run\'s folder, or set hardware.fit = "off"',
                )
            plan = made
        return plan


def free_memory(plan: Plan, here: Machine) -> int | None:
    """Bytes that the plan may fill: what is free on its card, or in main memory with what this process has already;
    none where that cannot be asked."""
    cap = os.environ.get(CAP, "")
    if cap.isdigit():
        return int(cap)
    gpu = here.gpu_for(plan.hardware.device)
    if gpu is not None:
        return gpu.memory_free
    on_cpu = plan.hardware.device in ("cpu", "auto")
    return available_memory() if on_cpu else None


def refit(plan: Plan, base: BaseInfo, here: Machine) -> Refit | None:
    """What to give up, in the ladder's order; none where the plan fits, or where it may not be changed.

    Nothing is given up where all of it together would not make the plan fit. The effective batch stays.
    """
    free = None if plan.hardware.fit == "off" else free_memory(plan, here)
    if free is None:
        return None

    def cost(made: Plan) -> int:
        return estimate(made, base, None, here).vram_total

    needs = cost(plan)
    if needs <= free:
        return None
    found = fit(plan, cost, free, closed_to(here.gpu_for(plan.hardware.device)), SAME_BATCH)
    choices = found.choices if found.cost <= free else ()
    given = (Given(choice.rung.name, choice.changes, choice.rung.price, choice.cost) for choice in choices)
    return Refit(needs, free, tuple(given))


def keep(found: Refit, path: Path) -> None:
    """Write it for the run's resumes."""
    given = [
        {"name": each.name, "changes": dict(each.changes), "price": each.price, "takes": each.takes}
        for each in found.given
    ]
    text = json.dumps({"needs": found.needs, "free": found.free, "given": given}, indent=1)
    write_atomic(path, text + "\n")


def kept(path: Path) -> Refit | None:
    """What was written at an earlier start; none where nothing was. UserError where it cannot be read."""
    if not path.exists():
        return None
    try:
        data: dict[str, Any] = json.loads(read_plain(path, MOST))
        given = tuple(
            Given(str(each["name"]), dict(each["changes"]), str(each["price"]), int(each["takes"]))
            for each in data["given"]
        )
        return Refit(int(data["needs"]), int(data["free"]), given)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{path} cannot be read",
            f"it says what the run gave up so that it fits ({error!r})",
            "restore it; without it the run would go on as its plan is written, which gives other weights",
        ) from error
