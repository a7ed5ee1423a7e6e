"""What in the options of a LoRA does not go together, or does nothing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from engine.models.layers import targeted
from engine.plan.methods.context import PlanContext
from engine.plan.methods.lora_counts import unit_alpha
from engine.plan.problems import Problem, warning

if TYPE_CHECKING:
    from engine.plan.methods.lora import LoraOptions

# Above this effective scale the learning rates of recipes overshoot: their alpha is twice the rank at most.
MOST_SCALE = 2.0


def scale(options: LoraOptions, table: str) -> Iterator[Problem]:
    if options.kind == "oft":
        return
    yield from _scale(options, f"{table}.alpha", options.alpha, options.rank)
    if options.conv_alpha is not None and options.targets == "all":
        rank = options.conv_rank or options.rank
        yield from _scale(options, f"{table}.conv_alpha", options.conv_alpha, rank)


def _scale(options: LoraOptions, key: str, alpha: float, rank: int) -> Iterator[Problem]:
    unit = unit_alpha(rank, options.rslora)
    found = alpha / unit
    # kohya's alpha of 1 at rank 64 is the smallest that recipes take.
    if found > MOST_SCALE or found < 1 / 64:
        formula = "alpha / sqrt(rank)" if options.rslora else "alpha / rank"
        what = f"the effective scale is {found:.3g} ({formula}, {alpha:g} and {rank})"
        why = "it multiplies the learning rate's effect: " + (
            "steps overshoot" if found > MOST_SCALE else "little is learnt"
        )
        fix = f"set {key} between {unit / 2:.4g} and {unit:.4g} for the usual rates"
        yield warning(key, what, why, fix)


def rank(options: LoraOptions, ctx: PlanContext) -> Iterator[Problem]:
    base = ctx.base
    if base is None or base.path is None or not base.path.is_dir() or not ctx.denoiser_config:
        return
    if ctx.family is None:
        return
    layers = targeted(ctx.family.layers(ctx.denoiser_config), options.targets)
    widest = max(min(layer.inputs, layer.outputs) for layer in layers)
    if options.rank > widest:
        why = f"the widest layer it adapts has {widest} channels, so the pair is larger than the layer"
        fix = f"set {max(1, widest // 4)} or less"
        yield warning(f"{ctx.plan.method}.rank", f"{options.rank} is no low rank here", why, fix)


def kind(options: LoraOptions, table: str) -> Iterator[Problem]:
    other = options.kind != "lora"
    plain = {"dora": options.dora, "rslora": options.rslora, "dropout": options.dropout > 0}
    for name, used in plain.items():
        if other and used:
            fix = f'turn it off, or set {table}.kind = "lora"'
            yield Problem(f"{table}.{name}", f"does not go with {options.kind}", "only LoRA has it", fix)
    if other and options.plus_ratio != 1:
        why = f"{options.kind} has no upper and lower half"
        yield Problem(f"{table}.plus_ratio", f"does not go with {options.kind}", why, "set 1")
    if options.factor != -1 and options.kind != "lokr":
        yield warning(f"{table}.factor", "has no effect", f"{table}.kind is {options.kind}", "leave it out")
    if options.factor == 0:
        yield Problem(f"{table}.factor", "0 divides nothing", "it is the side of a matrix", "set -1")
    if options.max_norm and (other or options.dora):
        what = "goes with plain LoRA only"
        yield Problem(f"{table}.max_norm", what, "the norm is taken of one pair's product", "set 0")


def dropouts(options: LoraOptions, table: str) -> Iterator[Problem]:
    """Ranks and modules cannot be left out of every kind."""
    if options.dora:
        for name in ("rank_dropout", "module_dropout"):
            if getattr(options, name) > 0:
                why = (
                    "DoRA's magnitudes belong to the whole change, so that a part of it is another direction"
                )
                yield Problem(f"{table}.{name}", "does not go with DoRA", why, f"set {table}.dropout")


def rotation(options: LoraOptions, table: str) -> Iterator[Problem]:
    """OFT turns what a layer answers, as a whole, and is trained in the denoiser alone."""
    if options.kind != "oft":
        return
    for name in ("rank_dropout", "module_dropout"):
        if getattr(options, name) > 0:
            yield Problem(
                f"{table}.{name}", "does not go with oft", "a rotation has no parts to leave out", "set 0"
            )
    if options.text_encoder:
        why = "AUTOMATIC1111 has no place for rotations in the text encoders of SD 2.x and SDXL"
        yield Problem(
            f"{table}.text_encoder", "does not go with oft", why, f"set {table}.text_encoder = false"
        )


def convolutions(options: LoraOptions, table: str) -> Iterator[Problem]:
    """A rank and an alpha of their own, for layers that are adapted with targets all."""
    for name in ("conv_rank", "conv_alpha"):
        value = getattr(options, name)
        if value is not None and options.targets != "all":
            why = f'{table}.targets is "{options.targets}", and convolutions are adapted with "all"'
            yield warning(f"{table}.{name}", f"{value:g} changes nothing", why, "leave it out")
    if options.conv_rank is not None and options.start:
        why = f"the ranks are those of the file that {table}.start names"
        yield Problem(f"{table}.conv_rank", "does not go with start", why, "leave it out")
    if options.conv_alpha is not None and options.kind != "lora":
        why = "a file of this kind has one strength for all its layers"
        fix = f"leave it out: {table}.alpha sets the scale of both"
        yield Problem(f"{table}.conv_alpha", f"does not go with {options.kind}", why, fix)
