"""Rules about masks."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from engine.plan.problems import Problem, warning
from engine.planning.rules.context import Context, Rule


def found(ctx: Context) -> Iterator[Problem]:
    """Masks that were asked for and are not there."""
    report, kinds = ctx.report, {one.masks for one in ctx.plan.data.picture_sets} - {"off"}
    if report is None or not report.items or not kinds or any(item.mask is not None for item in report.items):
        return
    if "files" in kinds:
        why = "a mask is NAME-masklabel.png or NAME_mask.png beside NAME.jpg, masks/NAME.png, or in data.mask_path"
    else:
        why = "none of them has transparency"
    fix = 'add them, or set data.masks = "off"'
    yield Problem("data.masks", "no picture has a mask that can be used", why, fix)


def folder(ctx: Context) -> Iterator[Problem]:
    data = ctx.plan.data
    if not data.mask_path:
        return
    if "files" not in {one.masks for one in data.picture_sets}:
        fix = 'set data.masks = "files", or leave it out'
        yield warning("data.mask_path", "has no effect", "no masks are read from files", fix)
        return
    own = Path(data.mask_path).expanduser().resolve()
    if own in {Path(one.path).expanduser().resolve() for one in data.picture_sets}:
        why = "each picture would be its own mask"
        yield Problem("data.mask_path", "is the folder of the pictures", why, "name the folder of the masks")


def weight(ctx: Context) -> Iterator[Problem]:
    for number, one in enumerate(ctx.plan.data.picture_sets):
        if one.masks != "off" and one.unmasked_weight == 1:
            at = f"data.sets.{number}." if ctx.plan.data.sets else "data."
            why = "what a mask leaves out weighs as much as the rest"
            yield warning(f"{at}unmasked_weight", "of 1 makes the masks do nothing", why, "set 0.1 or less")
            return


def classes(ctx: Context) -> Iterator[Problem]:
    """Class pictures are whole: what stands around their subject is what the base knows too."""
    for number, one in enumerate(ctx.plan.data.sets):
        if one.kind == "class" and one.masks not in (None, "off"):
            why = "class pictures keep what the base knows of whole pictures"
            yield Problem(f"data.sets.{number}.masks", "does not go with class pictures", why, "leave it out")


RULES: tuple[Rule, ...] = (found, folder, weight, classes)
