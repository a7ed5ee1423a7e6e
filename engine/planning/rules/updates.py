"""Rules about how weights are kept and when they are changed: bf16, and the fused backward pass."""

from __future__ import annotations

from collections.abc import Iterator

from engine.cost.machine import half_format
from engine.plan.optimizers import OPTIMIZERS
from engine.plan.problems import Problem
from engine.planning.rules.context import Context, Rule

WEIGHTS, FUSED = "train.weights", "hardware.fused_backward"


def weights(ctx: Context) -> Iterator[Problem]:
    """Weights in bf16 are computed with in bf16, and widened a few at a time for their update."""
    if ctx.plan.train.weights != "bf16":
        return
    computed = _precision(ctx)
    if computed not in ("bf16", ""):
        why = f"this plan computes in {computed} here (train.precision is {ctx.plan.train.precision})"
        fix = 'set train.precision = "bf16", or train.weights = "fp32"'
        yield Problem(WEIGHTS, "bf16 weights are computed with in bf16", why, fix)
    spec = OPTIMIZERS[ctx.plan.optimizer.name]
    if not spec.alone:
        why = "its update looks at all weights, and bf16 weights are widened a few at a time"
        yield Problem(WEIGHTS, f"bf16 does not go with {spec.title}", why, f'set "fp32", or {_others()}')


def fused_backward(ctx: Context) -> Iterator[Problem]:
    plan, spec = ctx.plan, OPTIMIZERS[ctx.plan.optimizer.name]
    asked, train = plan.hardware.fused_backward, plan.train
    if asked == "off":
        return
    if train.gradient_accumulation > 1:
        why = "a weight is changed as soon as one batch has its gradient, so no second one can be added"
        fix = "set train.gradient_accumulation = 1"
        yield Problem(FUSED, f"{asked!r} does not go with gradient accumulation", why, fix)
    if plan.data.class_pictures:
        why = "class pictures are a second batch of each update, whose gradients would come too late"
        yield Problem(FUSED, f"{asked!r} does not go with class pictures", why, 'set "off"')
    if asked == "weights" and train.clip_norm > 0:
        why = "the norm is known when the backward pass is over, and by then all weights are changed"
        fix = (
            'set train.clip_norm = 0, or hardware.fused_backward = "groups", which clips each group by itself'
        )
        yield Problem(FUSED, "'weights' does not go with train.clip_norm", why, fix)
    if _precision(ctx) == "fp16":
        why = "fp16 leaves out an update whose gradients overflow, and by then weights are changed"
        fix = 'set train.precision = "bf16", or hardware.fused_backward = "off"'
        yield Problem(FUSED, f"{asked!r} does not go with fp16", why, fix)
    if not spec.alone:
        why = "its update looks at all weights at once"
        yield Problem(FUSED, f"{asked!r} does not go with {spec.title}", why, f'set "off", or {_others()}')


def _precision(ctx: Context) -> str:
    """What the plan computes in, or an empty text where the card is not known."""
    asked = ctx.plan.train.precision
    if asked != "auto":
        return asked
    if ctx.on_cpu:
        return "fp32"
    return half_format(ctx.gpu.capability) if ctx.gpu is not None else ""


def _others() -> str:
    return "an optimiser such as " + ", ".join(list(OPTIMIZERS)[:3])


RULES: tuple[Rule, ...] = (weights, fused_backward)
