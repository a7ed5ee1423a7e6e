"""Rules about steps, rates, previews and checkpoints."""

from __future__ import annotations

import math
from collections.abc import Iterator

from engine.dataset.captions import MOST_TOKENS, approximate_tokens, has_trigger
from engine.plan.optimizers import OPTIMIZERS
from engine.plan.optimizers.base import rounded
from engine.plan.problems import Problem, warning
from engine.plan.schedules import SCHEDULES
from engine.plan.train import Train
from engine.planning.epochs import STEPS_OF, asked, updates
from engine.planning.rules.context import Context, Rule

# Published recipes of a method lie within a factor of ten or so; further beyond them than this is likely a slip.
FAR = 5.0


def learning_rates(ctx: Context) -> Iterator[Problem]:
    train = ctx.plan.train
    if train.warmup >= train.steps:
        why = f"the rate would still be rising at the last of {train.steps} steps"
        yield Problem(
            "train.warmup", f"{train.warmup} steps of warm-up", why, f"set {train.steps // 10} or less"
        )
    own = OPTIMIZERS[ctx.plan.optimizer.name]
    if own.learning_rate is not None:
        return
    rate, found, usual = train.learning_rate, ctx.preset, ctx.preset.values["train.learning_rate"]
    lowest, highest = found.lowest_rate * own.rates[0], found.highest_rate * own.rates[1]
    high, low = rate > highest * FAR * (1 + 1e-9), rate < lowest / FAR * (1 - 1e-9)
    if high or low:
        title, effect = (
            ctx.spec.title,
            "the weights will likely diverge" if high else "hardly anything is learnt",
        )
        source = found.rates_source
        if own.rates != (1.0, 1.0):
            title, source = f"{title} with {own.title}", f"{source}; {own.rates_source}"
        recipes = f"recipes for {title} take {lowest:.3g} to {highest:.3g}"
        what = f"{rate:g} is very {'high' if high else 'low'} for {title}"
        fix = f"set {rounded(float(str(usual)) * math.sqrt(own.rates[0] * own.rates[1])):g} to start with"
        yield warning("train.learning_rate", what, f"{recipes} ({source}): {effect}", fix)


def epochs(ctx: Context) -> Iterator[Problem]:
    """What the plan says in epochs and what it says in steps is the same, with the pictures as they are now."""
    if ctx.report is None or not ctx.pictures:
        return
    for key, count in asked(ctx.plan).items():
        steps, wanted = STEPS_OF[key], updates(ctx.plan, ctx.report, count)
        table, _, name = steps.partition(".")
        given = getattr(getattr(ctx.plan, table), name)
        if given != wanted:
            why = f"with these pictures {count:g} epochs are {wanted:,} steps of {ctx.plan.train.batch_size} at once"
            yield Problem(steps, f"{given:,} is not {key} = {count:g}", why, f"set {wanted}, or {key} = 0")


def schedule(ctx: Context) -> Iterator[Problem]:
    train, defaults = ctx.plan.train, Train()
    own = SCHEDULES[train.schedule]
    yield from own.problems(train)
    for name in sorted({name for row in SCHEDULES.values() for name in row.reads} - own.reads):
        if getattr(train, name) != getattr(defaults, name):
            readers = ", ".join(row.name for row in SCHEDULES.values() if name in row.reads)
            why = f"train.schedule is {train.schedule}; {name} is read by {readers}"
            yield warning(f"train.{name}", f"{getattr(train, name)} changes nothing", why, "leave it out")


def prompts(ctx: Context) -> Iterator[Problem]:
    samples = ctx.plan.samples
    limit = max(ctx.family.token_limit if ctx.family else 0, ctx.plan.captions.max_tokens)
    texts = [("samples.prompts", text) for text in samples.prompts] + [("samples.negative", samples.negative)]
    for key, text in texts:
        count = approximate_tokens(text)
        if count > limit:
            short = text if len(text) <= 40 else f"{text[:37]}..."
            why = "the text encoder reads no further"
            fix = "shorten it, or raise captions.max_tokens" if limit < MOST_TOKENS else "shorten it"
            what = f"{short!r} has about {count} tokens, of which {limit} are read"
            yield warning(key, what, why, fix)
    for trigger in ctx.plan.data.triggers:
        if samples.prompts and not any(has_trigger(text, trigger) for text in samples.prompts):
            why = "the previews would not show what is learnt"
            fix = f"write {trigger!r} into at least one prompt"
            yield warning("samples.prompts", f"none of them has the trigger word {trigger!r}", why, fix)


def preview_sizes(ctx: Context) -> Iterator[Problem]:
    samples = ctx.plan.samples
    for key, side in (("samples.width", samples.width), ("samples.height", samples.height)):
        if side % 8 or 0 < side < 32:
            why = "the VAE makes 8 x 8 pixels out of one latent"
            yield Problem(
                key, f"{side} is not a size that can be drawn", why, f"set {max(32, round(side / 8) * 8)}"
            )
        elif ctx.base is not None and side > 2 * ctx.base.native_resolution:
            why = f"the base was made for {ctx.base.native_resolution} pixels and draws things twice beyond"
            yield warning(
                key, f"{side} is large for this base", why, f"set {ctx.base.native_resolution}, or 0"
            )


def intervals(ctx: Context) -> Iterator[Problem]:
    steps = ctx.plan.train.steps
    pairs = (
        ("samples.every", ctx.plan.samples.every, "no preview before the end"),
        ("checkpoints.every", ctx.plan.checkpoints.every, "a crash would lose the whole run"),
    )
    for key, every, why in pairs:
        if every > steps:
            yield warning(key, f"{every} is more than the {steps} steps", why, f"set {max(1, steps // 4)}")


def exported_weights(ctx: Context) -> Iterator[Problem]:
    asked = ctx.plan.output.weights
    if asked != "ema" and not ctx.plan.train.ema:
        what, why = (
            f"{asked!r} chooses nothing",
            "train.ema is 0, so there are no averages beside the weights",
        )
        yield warning("output.weights", what, why, 'leave it at "ema", or set train.ema = 0.999')


RULES: tuple[Rule, ...] = (
    learning_rates,
    epochs,
    schedule,
    prompts,
    preview_sizes,
    intervals,
    exported_weights,
)
