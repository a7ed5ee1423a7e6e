"""The rule about memory: what is over the card is said with every way to make it fit, and what that would take."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping

from engine.cost.estimate import estimate
from engine.errors import UserError
from engine.plan.files import from_dict, to_dict
from engine.plan.methods import METHODS
from engine.plan.optimizers import OPTIMIZERS
from engine.plan.overrides import put
from engine.plan.problems import Problem, warning
from engine.plan.schema import Plan
from engine.plan.units import size_text
from engine.planning.build import Facts, build
from engine.planning.rules.context import Context, Rule

SAVING = "hardware.gradient_checkpointing"


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
    train, saving = ctx.plan.train, {SAVING: True}
    first: dict[str, object] = {} if ctx.plan.hardware.gradient_checkpointing else dict(saving)
    if first and (text := _fits(ctx, first, available)):
        yield SAVING, text
        return
    effective = train.batch_size * train.gradient_accumulation
    for size in (count for count in range(train.batch_size - 1, 0, -1) if effective % count == 0):
        changes = {"train.batch_size": size, "train.gradient_accumulation": effective // size, **first}
        if text := _fits(ctx, changes, available):
            yield "train.batch_size", text
            return
    least: dict[str, object] = {"train.batch_size": 1, "train.gradient_accumulation": effective}
    least = {**(least if train.batch_size > 1 else {}), **first}
    now = OPTIMIZERS[ctx.plan.optimizer.name]
    for name, spec in OPTIMIZERS.items():
        # One with learning rates of its own is another recipe, not the same with less memory.
        if spec is not now and spec.learning_rate is None and spec.rates[1] == 1 and not spec.package:
            changes = {"optimizer.name": name, **least}
            if text := _fits(ctx, changes, available):
                yield "optimizer.name", text
                break
    own = {f"{ctx.plan.method}.{name}": value for name, value in ctx.plan.options.thrift.items()}
    if own and (text := _fits(ctx, {**own, **least}, available)):
        yield next(iter(own)), text


def _fits(ctx: Context, changes: Mapping[str, object], available: int) -> str:
    """What to set and what it takes then; empty where that is over the card too."""
    tables = to_dict(ctx.plan)
    for key, value in changes.items():
        put(tables, key, value)
    try:
        plan = from_dict(tables)
    except UserError:
        return ""
    cost = _cost(ctx, plan)
    told = " and ".join(f"{key} = {json.dumps(value)}" for key, value in changes.items())
    return f"set {told} (about {size_text(cost)})" if cost <= available else ""


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
