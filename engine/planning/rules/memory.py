"""The rule about memory: what is over the card is said with every way to make it fit, and what that would take."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping

from engine.cost.estimate import estimate
from engine.errors import UserError
from engine.plan.methods import METHODS
from engine.plan.problems import Problem, warning
from engine.plan.schema import Plan
from engine.plan.units import size_text
from engine.planning.build import Facts, build
from engine.planning.ladder import changed, closed_to, fit
from engine.planning.rules.context import Context, Rule


def memory(ctx: Context) -> Iterator[Problem]:
    if ctx.base is None or (ctx.gpu is None and not ctx.on_cpu):
        return
    cost, available = ctx.estimate.vram_total, ctx.estimate.vram_available
    if available is None or cost <= available:
        return
    what = f"about {size_text(cost)} are needed, and {ctx.estimate.device} has {size_text(available)}"
    why = "computed, not measured; the engine splits a batch that does not fit, which is slower"
    ways = [*_smaller(ctx, available), *_lighter(ctx, available)]
    key = ways[0][0] if ways else "hardware.device"
    fix = "; or ".join(text for _, text in ways) or _larger(ctx, cost)
    yield warning(key, what, why, fix)


def _smaller(ctx: Context, available: int) -> Iterator[tuple[str, str]]:
    """Changes of the plan's own fields after which it fits, each with the first field that it changes."""
    found = fit(ctx.plan, lambda plan: _cost(ctx, plan), available, closed_to(ctx.gpu))
    if found.choices and found.cost <= available:
        changes = {key: value for choice in found.choices for key, value in choice.changes.items()}
        yield next(iter(changes)), _told(changes, found.cost)
        return
    thrift = ctx.plan.options.thrift
    own = changed(ctx.plan, {f"{ctx.plan.method}.{name}": value for name, value in thrift.items()})
    if thrift and own is not None:
        found = fit(own, lambda plan: _cost(ctx, plan), available, closed_to(ctx.gpu))
        if found.cost <= available:
            changes = {f"{ctx.plan.method}.{name}": value for name, value in thrift.items()}
            changes |= {key: value for choice in found.choices for key, value in choice.changes.items()}
            yield next(iter(changes)), _told(changes, found.cost)


def _told(changes: Mapping[str, object], cost: int) -> str:
    """What to set and what it takes then."""
    told = " and ".join(f"{key} = {json.dumps(value)}" for key, value in changes.items())
    return f"set {told} (about {size_text(cost)})"


def _cost(ctx: Context, plan: Plan) -> int:
    return estimate(plan, ctx.base, ctx.report, ctx.machine).vram_total


def _lighter(ctx: Context, available: int) -> Iterator[tuple[str, str]]:
    """The method that does alike with less memory, where it fits."""
    cost = _lighter_cost(ctx)
    if cost is not None and cost <= available:
        how = f"sdtrain new --method {ctx.spec.lighter} with the same model and pictures"
        title = METHODS[ctx.spec.lighter].title
        yield "method", f"train a {title}, which fits with about {size_text(cost)}: {how}"


def _larger(ctx: Context, cost: int) -> str:
    """What is left where nothing fits."""
    lighter = _lighter_cost(ctx)
    too = (
        f"; a {METHODS[ctx.spec.lighter].title} is over it too with about {size_text(lighter)}"
        if lighter
        else ""
    )
    return f"use a card with {size_text(cost)} or more, or a smaller base model{too}"


def _lighter_cost(ctx: Context) -> int | None:
    """What the plan of the lighter method would take that `sdtrain new` makes here; none where there is none."""
    if not ctx.spec.lighter:
        return None
    plan, gpu = ctx.plan, ctx.gpu
    answers: dict[str, object] = {
        "method": ctx.spec.lighter,
        "base.model": plan.base.model,
        "base.family": plan.base.family,
        "data.path": plan.data.path,
        "data.resolution": plan.data.resolution,
        "hardware.device": plan.hardware.device,
    }
    facts = Facts(ctx.report, ctx.base, gpu.gigabytes if gpu else None, ctx.machine.gpus, ctx.machine)
    try:
        return _cost(ctx, build(answers, facts).plan)
    except UserError:
        return None


RULES: tuple[Rule, ...] = (memory,)
