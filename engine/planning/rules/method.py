"""Rules about the method, its options, and what contradicts them."""

from __future__ import annotations

import difflib
from collections.abc import Iterator

from engine.models.bases import read_config
from engine.models.layers import targeted, unet_layers
from engine.plan.methods.lora import LoraOptions
from engine.plan.problems import Problem
from engine.planning.rules.context import Context, Rule, warning


def possible(ctx: Context) -> Iterator[Problem]:
    if ctx.family is None:
        return
    missing = ctx.spec.requires - ctx.family.provides
    if missing:
        needs = ", ".join(sorted(missing)).replace("_", " ")
        what = f"{ctx.spec.title} cannot be trained on {ctx.family.title}"
        yield Problem(
            "method",
            what,
            f"it needs {needs}, which this family does not offer",
            "choose another method or base",
        )


def caches(ctx: Context) -> Iterator[Problem]:
    plan = ctx.plan
    pairs = (
        ("data.cache_text", plan.data.cache_text, plan.text_cache_obstacle),
        ("data.cache_latents", plan.data.cache_latents, plan.latent_cache_obstacle),
    )
    for key, choice, obstacle in pairs:
        if choice == "on" and obstacle:
            yield Problem(key, "cannot be on here", obstacle, 'set it to "auto" or "off"')


def formats(ctx: Context) -> Iterator[Problem]:
    known = ctx.spec.formats
    for name in ctx.plan.output.formats:
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
            fix = f"did you mean {close[0]!r}?" if close else f"choose from {', '.join(known)}"
            why = f"{ctx.spec.title} is written as {', '.join(known)}"
            yield Problem("output.formats", f"{name!r} is no format of this method", why, fix)
        elif obstacle := ctx.plan.options.format_obstacle(name):
            rest = [other for other in known if not ctx.plan.options.format_obstacle(other)]
            fix = f"set output.formats to {', '.join(rest)}, or turn that option off"
            yield Problem("output.formats", f"{name!r} cannot hold these options", obstacle, fix)


def lora_scale(ctx: Context) -> Iterator[Problem]:
    options = ctx.plan.options
    if not isinstance(options, LoraOptions):
        return
    scale = options.effective_scale
    formula = "alpha / sqrt(rank)" if options.rslora else "alpha / rank"
    if scale > 4 or scale < 1 / 64:
        what = f"the effective scale is {scale:.3g} ({formula}, {options.alpha:g} and {options.rank})"
        why = "it multiplies the learning rate's effect: " + (
            "steps overshoot" if scale > 4 else "little is learnt"
        )
        fix = (
            f"set {ctx.plan.method}.alpha between {options.rank / 2:g} and {options.rank} for the usual rates"
        )
        yield warning(f"{ctx.plan.method}.alpha", what, why, fix)


def lora_rank(ctx: Context) -> Iterator[Problem]:
    options, base = ctx.plan.options, ctx.base
    if not isinstance(options, LoraOptions) or base is None or base.path is None or not base.path.is_dir():
        return
    config = read_config(base.path / "unet" / "config.json")
    if not config:
        return
    widest = max(min(layer.inputs, layer.outputs) for layer in targeted(unet_layers(config), options.targets))
    if options.rank > widest:
        why = f"the widest layer it adapts has {widest} channels, so the pair is larger than the layer"
        yield warning(
            f"{ctx.plan.method}.rank",
            f"{options.rank} is no low rank here",
            why,
            f"set {max(1, widest // 4)} or less",
        )


def lora_text_rate(ctx: Context) -> Iterator[Problem]:
    options = ctx.plan.options
    if isinstance(options, LoraOptions) and options.text_encoder_learning_rate and not options.text_encoder:
        why = f"{ctx.plan.method}.text_encoder is off"
        fix = f"set {ctx.plan.method}.text_encoder = true, or leave the rate out"
        yield warning(f"{ctx.plan.method}.text_encoder_learning_rate", "has no effect", why, fix)


RULES: tuple[Rule, ...] = (possible, caches, formats, lora_scale, lora_rank, lora_text_rate)
