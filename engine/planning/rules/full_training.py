"""Rules about methods that train a whole model, and about class pictures."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from engine.cost.counts import family_of, part_config
from engine.models.widths import problem_of, widths_of
from engine.plan.methods.dreambooth import DreamboothOptions
from engine.plan.methods.full import FullOptions
from engine.plan.methods.scratch import ScratchOptions
from engine.plan.problems import Problem
from engine.plan.units import duration
from engine.planning.rules.context import Context, Rule, warning

BLOCK = re.compile(r"(IN|OUT)\d\d|MID|time|out")
# Public from-scratch runs showed over 1e9 samples of millions of pictures, each a few times to a few dozen
# times; a smaller set that is shown more often than this is repeated rather than understood.
MEMORISED_AFTER = 100
ENOUGH = 50_000
PAIRED = frozenset({"controlnet", "t2i_adapter"})


def freeze(ctx: Context) -> Iterator[Problem]:
    options = ctx.plan.options
    for name in options.freeze if isinstance(options, FullOptions) else ():
        if not BLOCK.fullmatch(name):
            why = "blocks are IN00 to IN11, MID, OUT00 to OUT11 (SDXL: to 08), time and out"
            yield Problem("full.freeze", f"{name!r} is no block of a UNet", why, "correct or remove it")


def text_rate(ctx: Context) -> Iterator[Problem]:
    options = ctx.plan.options
    if not isinstance(options, FullOptions | DreamboothOptions) or options.text_encoder:
        return
    if options.text_encoder_learning_rate:
        name = ctx.plan.method
        fix = f"set {name}.text_encoder = true, or leave the rate out"
        yield warning(
            f"{name}.text_encoder_learning_rate", "has no effect", f"{name}.text_encoder is off", fix
        )


def class_pictures(ctx: Context) -> Iterator[Problem]:
    data = ctx.plan.data
    asked = bool(data.class_path or data.class_count)
    if not asked:
        if data.class_prompt:
            why = "without class pictures nothing is captioned by it"
            fix = "set data.class_count (200 is usual), or data.class_path"
            yield warning("data.class_prompt", "has no effect", why, fix)
        return
    if ctx.plan.method in PAIRED or ctx.plan.method == "scratch":
        why = (
            "there is no condition picture for them" if ctx.plan.method in PAIRED else "there is no prior yet"
        )
        fix = "leave data.class_path and data.class_count out"
        yield Problem("data.class_path", f"{ctx.spec.title} takes no class pictures", why, fix)
    if not data.class_prompt:
        why = "it is the caption of the class pictures, and what missing ones are drawn from"
        fix = "name the class without the trigger word, for example 'a photo of a dog'"
        yield Problem("data.class_prompt", "is missing", why, fix)
    elif data.trigger and data.trigger.casefold() in data.class_prompt.casefold():
        why = "class pictures would teach that the trigger means any one of the class"
        fix = f"take {data.trigger!r} out of it"
        yield Problem("data.class_prompt", f"has the trigger word {data.trigger!r}", why, fix)
    if data.class_weight == 0:
        why = "its pictures cost as much time as the others and teach nothing"
        yield warning("data.class_weight", "is 0", why, "set 1, or leave the class pictures out")


def class_folder(ctx: Context) -> Iterator[Problem]:
    data = ctx.plan.data
    if not data.class_path:
        return
    folder, own = Path(data.class_path).expanduser(), Path(data.path).expanduser()
    if not folder.is_dir():
        fix = "correct the path, or leave it out and set data.class_count"
        yield Problem("data.class_path", f"{data.class_path} is no folder", "nothing is there to read", fix)
    elif folder.resolve() == own.resolve() or (
        data.recursive and folder.resolve().is_relative_to(own.resolve())
    ):
        why = "its pictures would be taught as the subject too"
        yield Problem("data.class_path", "lies in data.path", why, "move it beside that folder")


def subject(ctx: Context) -> Iterator[Problem]:
    plan = ctx.plan
    if plan.method != "dreambooth":
        return
    if not plan.data.trigger:
        why = "the subject would have no name of its own, and every prompt would call for it"
        yield warning(
            "data.trigger", "there is no trigger word", why, "set a rare word, for example 'zvx dog'"
        )
    if not plan.data.class_path and not plan.data.class_count:
        why = "the model may forget what others of that kind look like; faces need prior preservation most"
        yield warning(
            "data.class_count", "no class pictures", why, "set data.class_prompt, and data.class_count = 200"
        )


def scratch_shape(ctx: Context) -> Iterator[Problem]:
    options, base = ctx.plan.options, ctx.base
    if not isinstance(options, ScratchOptions):
        return
    if options.widths and options.size != "own":
        fix = 'set scratch.size = "own", or leave the widths out'
        yield warning("scratch.widths", "has no effect", f"scratch.size is {options.size!r}", fix)
    config = part_config(base, family_of(base, ctx.plan.base.family), "unet")
    if options.size == "own" and config and (why := problem_of(config, options.widths)):
        usual = widths_of(config, "narrow")
        yield Problem("scratch.widths", "does not fit this family", why, f"for example {usual}")
    if options.zero_terminal_snr and options.prediction != "v_prediction":
        why = (
            "where no signal is left, the noise is known already and nothing can be learnt from predicting it"
        )
        yield Problem(
            "scratch.zero_terminal_snr",
            f"cannot be with prediction {options.prediction!r}",
            why,
            'set scratch.prediction = "v_prediction"',
        )


def scratch_stages(ctx: Context) -> Iterator[Problem]:
    plan = ctx.plan
    stages = plan.options.stages_of_resolution
    if not stages:
        return
    if stages[-1].last != plan.train.steps:
        why = f"the stages add up to {stages[-1].last:,} steps, and train.steps is {plan.train.steps:,}"
        yield Problem("scratch.stages", "do not fit train.steps", why, f"set train.steps = {stages[-1].last}")
    if stages[-1].side != plan.data.resolution:
        why = f"the last stage has {stages[-1].side} px, and data.resolution is {plan.data.resolution}"
        fix = f"set data.resolution = {stages[-1].side}, at which previews are drawn"
        yield Problem("scratch.stages", "do not end at data.resolution", why, fix)
    for stage in stages:
        if stage.side % (8 if ctx.tiny else 64):
            why = "the VAE and the UNet halve the sides"
            yield Problem("scratch.stages", f"{stage.side} is no multiple of 64", why, "set 256, 512 or 1024")


def scratch_amount(ctx: Context) -> Iterator[Problem]:
    if ctx.plan.method != "scratch" or not ctx.pictures:
        return
    times = ctx.images_seen / ctx.pictures
    if ctx.pictures >= ENOUGH or times < MEMORISED_AFTER:
        return
    seconds = ctx.estimate.seconds
    days = f", {duration(seconds)} at the rate of earlier runs" if seconds else ""
    what = f"{ctx.images_seen:,} samples of {ctx.pictures:,} pictures, {times:,.0f} epochs{days}: memorised"
    why = "a set this size teaches these pictures, or a narrow world, and not pictures at large"
    fix = f"bring {ENOUGH:,} pictures or more, train fewer steps, or fine-tune a base model"
    yield warning("data.path", what, why, fix)


RULES: tuple[Rule, ...] = (
    freeze,
    text_rate,
    class_pictures,
    class_folder,
    subject,
    scratch_shape,
    scratch_stages,
    scratch_amount,
)
