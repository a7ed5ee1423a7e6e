"""Rules about the pictures and captions."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from engine.dataset.findings import Finding
from engine.dataset.repeat_folders import only_set
from engine.plan.problems import Problem, warning
from engine.planning.data import draws_by_size
from engine.planning.rules.context import Context, Rule

SHOWN = 4
SEEN_OFTEN = 2000


def folder(ctx: Context) -> Iterator[Problem]:
    """What the scan found, one problem a kind, with the names of the files."""
    if ctx.report is None:
        return
    key = "data.sets" if ctx.plan.data.sets else "data.path"
    groups: dict[tuple[str, str], list[Finding]] = {}
    for finding in ctx.report.problems:
        if finding.level != "info":
            groups.setdefault((finding.level, finding.code), []).append(finding)
    for (level, _), found in groups.items():
        yield Problem(
            key, _what(found), found[0].why, found[0].fix, "error" if level == "error" else "warning"
        )


def _what(found: list[Finding]) -> str:
    first = found[0]
    if len(found) == 1:
        return first.what if first.file == "." else f"{first.file}: {first.what}"
    names = ", ".join(finding.file for finding in found[:SHOWN])
    more = f" and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
    return f"{names}{more}: {first.what}"


def folder_name(ctx: Context) -> Iterator[Problem]:
    """A folder named as kohya's scripts want it says what its pictures show."""
    if ctx.plan.data.trigger or ctx.plan.data.sets or ctx.report is None or not ctx.pictures:
        return
    found = only_set(Path(ctx.plan.data.path).expanduser())
    if found is not None:
        what = f"is empty, and the folder {found.name} names its subject"
        why = "kohya's scripts take words and repeats from such names, a plan has keys for both"
        fix = f"set data.trigger = {found.words!r} and data.repeats = {found.repeats}"
        yield warning("data.trigger", what, why, fix)


def resolution(ctx: Context) -> Iterator[Problem]:
    side = ctx.plan.data.resolution
    if side % 8:
        why = "the VAE makes one latent out of 8 x 8 pixels"
        yield Problem(
            "data.resolution", f"{side} is not a multiple of 8", why, f"set {max(32, round(side / 8) * 8)}"
        )
    elif side % 64 and not ctx.tiny:
        fix = f"set {max(64, round(side / 64) * 64)}"
        yield warning(
            "data.resolution", f"{side} is not a multiple of 64", "the UNet halves the sides three times", fix
        )
    yield from _far(ctx, "data.resolution", side)


def _far(ctx: Context, key: str, side: int) -> Iterator[Problem]:
    """Whether that is far from what the base was made for."""
    if ctx.base is None or ctx.base.path is None:
        return
    native = ctx.base.native_resolution
    if side >= 2 * native or side <= native / 2:
        why = "far from its own size a base draws things twice, or blurs"
        yield warning(key, f"{side}, and the base was made for {native}", why, f"set {native}")


def areas(ctx: Context) -> Iterator[Problem]:
    """Further resolutions of the plan and of each set."""
    data = ctx.plan.data
    lists = [("data", data.resolution, data.more_resolutions)]
    for number, one in enumerate(data.sets):
        if one.more_resolutions is not None:
            lists.append((f"data.sets.{number}", one.resolution or data.resolution, one.more_resolutions))
    for at, first, more in lists:
        key = f"{at}.more_resolutions"
        for place, side in enumerate(more):
            if side % 8:
                why = "the VAE makes one latent out of 8 x 8 pixels"
                yield Problem(
                    key, f"{side} is not a multiple of 8", why, f"set {max(32, round(side / 8) * 8)}"
                )
            elif side in (first, *more[:place]):
                yield Problem(
                    key, f"{side} is there twice", "each area is one way to show a picture", "leave it out"
                )
            else:
                yield from _far(ctx, key, side)
        if more and ctx.plan.options.stages_of_resolution:
            why = "resolution stages give all pictures the resolution of the stage"
            yield Problem(key, "does not go with stages", why, "leave it out")


def limits(ctx: Context) -> Iterator[Problem]:
    """Sides between which no square of a resolution lies."""
    data, stages = ctx.plan.data, ctx.plan.options.stages_of_resolution
    sides = {stage.side for stage in stages} if stages else data.sides
    low, high = min(sides), max(sides)
    if data.bucket_min > low:
        why = "a square of that area would be too small for it"
        yield Problem(
            "data.bucket_min",
            f"{data.bucket_min} is more than the resolution {low}",
            why,
            f"set {low} or less",
        )
    if 0 < data.bucket_max < high:
        why = "a square of that area would be too large for it"
        fix = f"set {high} or more, or a lower resolution"
        yield Problem("data.bucket_max", f"{data.bucket_max} is less than the resolution {high}", why, fix)


def enough(ctx: Context) -> Iterator[Problem]:
    low, _ = ctx.spec.typical_pictures
    if ctx.report is not None and 0 < ctx.pictures < low / 2:
        why = f"{ctx.spec.title} usually takes {low} or more; few pictures are learnt by heart"
        yield warning(
            "data.path",
            f"holds only {ctx.pictures} pictures to train on",
            why,
            "add some, or train fewer steps",
        )


def batches(ctx: Context) -> Iterator[Problem]:
    size = ctx.plan.train.batch_size
    if ctx.report is None or not ctx.pictures:
        return
    counts = list(draws_by_size(ctx.plan, ctx.report).values())
    if size > sum(counts):
        why = "a batch would hold the same picture more than once"
        fix = (
            f"set {ctx.pictures} or less, and raise train.gradient_accumulation for a larger effective batch"
        )
        yield warning("train.batch_size", f"{size} is more than the {ctx.pictures} pictures", why, fix)
        return
    twice = sum(-count % size for count in counts)
    if twice > sum(counts) / 2 and len(counts) > 1:
        why = f"{len(ctx.report.buckets)} buckets, of which some hold fewer pictures than a batch"
        what = f"{twice} pictures an epoch are drawn twice to fill batches of {size}"
        yield warning(
            "train.batch_size", what, why, "set a smaller batch, more data.repeats, or data.bucket = false"
        )


def seen(ctx: Context) -> Iterator[Problem]:
    """Pictures seen far too often, or not at all; a length that the method's recipe has of its own is meant so."""
    if not ctx.pictures:
        return
    times, own = ctx.images_seen / ctx.pictures, ctx.preset.samples
    if times > SEEN_OFTEN and ctx.images_seen > own:
        usual = max(own, 200 * ctx.pictures)
        steps = max(1, round(ctx.plan.train.steps * usual / ctx.images_seen))
        why = "the model will repeat the pictures instead of learning from them"
        fix = f"about {usual / ctx.pictures:,.0f} times is {steps} steps"
        yield warning("train.steps", f"each picture is seen {times:,.0f} times", why, fix)
    elif times < 1 and not 0 < own <= ctx.images_seen:
        why = f"{ctx.images_seen} of {ctx.pictures} are drawn"
        yield warning(
            "train.steps", "not every picture is seen even once", why, "raise train.steps or train.batch_size"
        )


def dropout(ctx: Context) -> Iterator[Problem]:
    share = ctx.plan.data.caption_dropout
    if share > 0.5:
        why = "steps without a caption teach no words; 0.05 to 0.2 is usual"
        yield warning("data.caption_dropout", f"{share:.0%} of the steps see no caption", why, "set 0.05")


RULES: tuple[Rule, ...] = (folder, folder_name, resolution, areas, limits, enough, batches, seen, dropout)
