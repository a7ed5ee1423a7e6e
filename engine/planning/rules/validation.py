"""Rules about pictures that are held out of the training."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from engine.plan.problems import Problem, warning
from engine.planning.data import validated_on
from engine.planning.rules.context import Context, Rule

FEW = 4


def share(ctx: Context) -> Iterator[Problem]:
    own = ctx.plan.validation
    if not own.every or own.path or ctx.report is None or not ctx.report.items:
        return
    held = len(validated_on(ctx.plan, ctx.report))
    key, count = "validation.share", len(ctx.report.items)
    if not held:
        least = f"set {min(0.5, -(-100 // count) / 100):g} or more" if count > 1 else "add pictures"
        what, why = f"{own.share:g} of {count} pictures is none", "there would be nothing to validate on"
        yield Problem(
            key, what, why, f"{least}, name a folder in validation.path, or set validation.every = 0"
        )
    elif held < FEW:
        why = "a loss of so few pictures says little about others"
        fix = "add pictures, or name a folder of others in validation.path"
        yield warning(key, f"{own.share:g} of {count} pictures is {held}", why, fix)


def folder(ctx: Context) -> Iterator[Problem]:
    own, key = ctx.plan.validation, "validation.path"
    if not own.path:
        return
    if not own.every:
        why, fix = "validation.every is 0, so nothing is validated", "set validation.every, or leave it out"
        yield warning(key, "has no effect", why, fix)
        return
    place = Path(own.path).expanduser()
    if not place.exists():
        yield Problem(key, f"{own.path} is not there", "it is to be read", "correct the path")
        return
    for one in ctx.plan.data.picture_sets:
        trained = Path(one.path).expanduser()
        if one.path and (
            place.resolve() == trained.resolve() or trained.resolve().is_relative_to(place.resolve())
        ):
            why = "its pictures would be left out of the training, and none would be left"
            yield Problem(key, "holds the pictures that are trained on", why, "name another folder")
            return
    found = ctx.validated
    for finding in found.errors if found is not None else ():
        yield Problem(key, f"{own.path}: {finding.what}", finding.why, finding.fix)
        return


def intervals(ctx: Context) -> Iterator[Problem]:
    plan, own = ctx.plan, ctx.plan.validation
    if not own.every:
        return
    steps = plan.train.steps
    if own.every > steps:
        why = "the loss is measured at the beginning and at the end alone"
        what = f"{own.every} is more than the {steps} steps"
        yield warning("validation.every", what, why, f"set {max(1, steps // 10)}")
    if own.stop_after and own.stop_after * own.every >= steps:
        why = f"{own.stop_after} validations take {own.stop_after * own.every} of the {steps} steps"
        yield warning(
            "validation.stop_after", "can end nothing early", why, "set less, or validate more often"
        )
    saved = plan.checkpoints.every
    if (
        own.every <= steps
        and own.keep_best
        and plan.checkpoints.keep
        and saved % own.every
        and own.every % (saved or steps)
    ):
        why = f"checkpoints come every {saved} steps, validations every {own.every}: they seldom meet"
        fix = f"set checkpoints.every to a multiple of {own.every}"
        yield warning("validation.every", "the best step may have no checkpoint", why, fix)


def captions(ctx: Context) -> Iterator[Problem]:
    if ctx.plan.validation.every and ctx.plan.data.caption_dropout >= 1:
        why = "the training sees no caption at all, and held-out pictures are measured with theirs"
        yield warning("validation.every", "measures what is not trained", why, "lower data.caption_dropout")


def clip(ctx: Context) -> Iterator[Problem]:
    """The model that previews are compared by."""
    samples, key = ctx.plan.samples, "samples.clip"
    if not samples.clip:
        return
    place = Path(samples.clip).expanduser()
    lacks = [name for name, there in _clip_files(place) if not there]
    if lacks:
        fix = "name the folder of a CLIP model, such as a copy of openai/clip-vit-large-patch14 from the hub"
        yield Problem(key, f"{samples.clip} holds no CLIP model", f"{', '.join(lacks)} is missing", fix)
    elif not samples.every:
        why = "samples.every is 0, so no preview is drawn"
        yield warning(key, "has no effect", why, "set samples.every, or leave it out")


def _clip_files(place: Path) -> Iterator[tuple[str, bool]]:
    yield "config.json", (place / "config.json").is_file()
    yield "a .safetensors file", next(place.glob("*.safetensors"), None) is not None
    yield "its tokenizer", (place / "tokenizer.json").is_file() or (place / "vocab.json").is_file()


RULES: tuple[Rule, ...] = (share, folder, intervals, captions, clip)
