"""What a run that starts or goes on does so that it fits the memory that is free."""

from __future__ import annotations

import json

from engine.cost.machine import machine
from engine.models.bases import locate
from engine.plan.schema import Plan
from engine.planning.fit_at_start import Refit, keep, kept, refit
from engine.run import kinds
from engine.run.paths import RunDir
from engine.worker.telling import Telling


def fitted(run: RunDir, plan: Plan, telling: Telling, begun: bool) -> Plan:
    """The plan that is trained, each of its choices told.

    They are made once, before the first update, and kept: whatever is free when the run goes on, it goes on with the
    same ones. A run that has begun without any keeps its plan.
    """
    found = kept(run.fit_file)
    again = found is not None
    if found is None and not begun:
        found = refit(plan, locate(plan.base.model, allow_download=plan.base.allow_download), machine())
        if found is not None and found.given:
            keep(found, run.fit_file)
    if found is None:
        return plan
    _tell(found, telling, again)
    return found.of(plan)


def _tell(found: Refit, telling: Telling, again: bool) -> None:
    for each in found.given:
        told = ", ".join(f"{key} = {json.dumps(value)}" for key, value in each.changes.items())
        telling.fit(kinds.Fit(each.name, told, each.price, each.takes, found.needs, found.free, again))
    if not found.given:
        telling.warning(
            "does-not-fit",
            f"about {found.needs / 2**30:.1f} GiB are needed and {found.free / 2**30:.1f} GiB are free; nothing that "
            "the plan could give up makes it fit, so it starts as it is written",
        )
