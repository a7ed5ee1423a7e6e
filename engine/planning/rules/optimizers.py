"""Rules about the optimiser, read off its row of the table."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec

from engine.installing import pip_install
from engine.plan.optimizers import OPTIMIZERS
from engine.plan.problems import Problem, warning
from engine.plan.schema import Optimizer
from engine.planning.rules.context import Context, Rule


def package(ctx: Context) -> Iterator[Problem]:
    spec = OPTIMIZERS[ctx.plan.optimizer.name]
    if spec.package and find_spec(spec.package) is None:
        why = f"the package {spec.package} is not installed"
        yield Problem(
            "optimizer.name", f"{spec.title} cannot be used here", why, pip_install(spec.requirement)
        )


def learning_rate(ctx: Context) -> Iterator[Problem]:
    spec = OPTIMIZERS[ctx.plan.optimizer.name]
    if spec.learning_rate is None:
        return
    asked, fix = ctx.plan.train.learning_rate, f"set {spec.learning_rate:g}, or choose another optimiser"
    if asked != spec.learning_rate:
        what = f"{asked:g} does not go with {spec.title}"
        yield Problem("train.learning_rate", what, spec.learning_rate_why, fix)
    for name, value in ctx.plan.options:
        if name.endswith("learning_rate") and value is not None and value < spec.learning_rate / 100:
            what = f"{value:g} is very low for {spec.title}"
            yield warning(f"{ctx.plan.method}.{name}", what, spec.learning_rate_why, fix)


def unread(ctx: Context) -> Iterator[Problem]:
    spec, defaults = OPTIMIZERS[ctx.plan.optimizer.name], Optimizer()
    for name in sorted(spec.unread):
        if getattr(ctx.plan.optimizer, name) != getattr(defaults, name):
            yield warning(f"optimizer.{name}", f"{spec.title} does not read it", "", "leave it out")


def contradictions(ctx: Context) -> Iterator[Problem]:
    yield from OPTIMIZERS[ctx.plan.optimizer.name].contradictions(ctx.plan)


RULES: tuple[Rule, ...] = (package, learning_rate, unread, contradictions)
