"""Rules about several sets of pictures."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from engine.plan.layouts import read_layout
from engine.plan.picture_sets import PictureSet
from engine.plan.problems import Problem, warning
from engine.planning.rules.context import Context, Rule

NEAR = 0.06
"""How far a share may be off before it is told; repeats are chosen to be within 2 to 5 %."""


def _each(ctx: Context) -> Iterator[tuple[str, PictureSet]]:
    """Every set with the start of its keys."""
    for number, one in enumerate(ctx.plan.data.sets):
        yield f"data.sets.{number}", one


def layout(ctx: Context) -> Iterator[Problem]:
    """Settings of another program's file that no set has."""
    data = ctx.plan.data
    found = read_layout(Path(data.path).expanduser()) if data.sets and data.path else None
    if found is not None and found.unread:
        why = "they stand in the file and have nothing like them in a set"
        fix = "see data.sets in docs/plan.md for what a set may have"
        yield warning("data.path", f"{found.what}: {', '.join(found.unread)} not used", why, fix)


def to_learn(ctx: Context) -> Iterator[Problem]:
    sets = ctx.plan.data.sets
    if sets and all(one.kind == "class" for one in sets):
        why = "class pictures only keep what the base knows"
        yield Problem("data.sets", "has class pictures alone", why, 'add a set of kind = "pictures"')


def shares(ctx: Context) -> Iterator[Problem]:
    for kind in ("pictures", "class"):
        own = [(key, one) for key, one in _each(ctx) if one.kind == kind]
        shared = [key for key, one in own if one.share]
        if shared and len(shared) < len(own):
            lacking = next(key for key, one in own if not one.share)
            why = "a share of the draws is a share of all, so every set of the kind has one, or none has"
            yield Problem(f"{lacking}.share", "is missing", why, "give each set its share, or repeats alone")
        for key, one in own:
            if one.share and one.repeats is not None:
                why = "both say how often its pictures are drawn"
                yield Problem(f"{key}.repeats", "stands beside a share", why, "leave one of them out")


def met_shares(ctx: Context) -> Iterator[Problem]:
    """Whole repeats, of which there is a largest number, cannot give every share."""
    own = [(key, one) for key, one in _each(ctx) if one.kind == "pictures"]
    counts = ctx.report.sets if ctx.report is not None else ()
    asked, drawn = sum(one.share for _, one in own), sum(one.pictures * one.repeats for one in counts)
    if not asked or not drawn or len(own) != len(counts):
        return
    for (key, one), count in zip(own, counts, strict=True):
        wanted, got = one.share / asked, count.pictures * count.repeats / drawn
        if abs(got - wanted) > NEAR * wanted:
            what = f"{wanted:.2%} of the draws cannot be met: it gets {got:.2%}"
            why = f"{count.pictures} pictures count {count.repeats} times each, and repeats are whole numbers"
            yield warning(f"{key}.share", what, why, "ask for a share nearer to that, or add pictures")


def weights(ctx: Context) -> Iterator[Problem]:
    for key, one in _each(ctx):
        if one.weight == 0:
            why = "its pictures cost as much time as the others and teach nothing"
            yield warning(f"{key}.weight", "is 0", why, "set 1, or leave the set out")


def resolutions(ctx: Context) -> Iterator[Problem]:
    staged = bool(ctx.plan.options.stages_of_resolution)
    for key, one in _each(ctx):
        if one.resolution is None:
            continue
        if one.resolution % 8:
            why, side = "the VAE makes one latent out of 8 x 8 pixels", max(32, round(one.resolution / 8) * 8)
            yield Problem(f"{key}.resolution", f"{one.resolution} is not a multiple of 8", why, f"set {side}")
        if staged:
            why = "resolution stages give all pictures the resolution of the stage"
            yield Problem(f"{key}.resolution", "does not go with stages", why, "leave it out")


def classes(ctx: Context) -> Iterator[Problem]:
    data = ctx.plan.data
    sets = [(key, one) for key, one in _each(ctx) if one.kind == "class"]
    if not sets:
        return
    if ctx.spec.class_obstacle:
        fix = 'leave the sets of kind = "class" out'
        yield Problem(
            f"{sets[0][0]}.kind", f"{ctx.spec.title} takes no class pictures", ctx.spec.class_obstacle, fix
        )
    for key in ("class_path", "class_count"):
        if getattr(data, key):
            why = "the plan has sets of class pictures"
            yield Problem(
                f"data.{key}", "stands beside them", why, "leave it out, or give that folder as a set"
            )
    learnt = {word.casefold() for word in data.triggers}
    for key, one in sets:
        if one.trigger and one.trigger.casefold() in learnt:
            why = "class pictures would teach that the trigger means any one of the class"
            yield Problem(
                f"{key}.trigger", f"{one.trigger!r} is the word to learn", why, "name the class without it"
            )


def class_words(ctx: Context) -> Iterator[Problem]:
    """Class pictures without caption, words and class prompt would be learnt under no words at all."""
    if ctx.plan.data.class_prompt or ctx.classes is None:
        return
    wordless = [item for item in ctx.classes.items if not item.caption]
    if wordless:
        what = f"{len(wordless)} class pictures have neither a caption nor words"
        why = "what they show would be learnt under no words at all"
        yield Problem(
            "data.class_prompt", what, why, "set it, for example to 'a photo of a dog', or the sets' trigger"
        )


def class_folders(ctx: Context) -> Iterator[Problem]:
    if ctx.classes is None:
        return
    for finding in ctx.classes.problems:
        if finding.level == "error":
            yield Problem("data.sets", f"{finding.file}: {finding.what}", finding.why, finding.fix)


def conditions(ctx: Context) -> Iterator[Problem]:
    source = ctx.plan.options.conditions
    if len(ctx.plan.data.picture_sets) > 1 and source is not None and source.maker == "files":
        why = "a picture's condition is found by its name, and sets may hold the same names"
        fix = "put the pictures into one folder, or let the maps be made (canny, depth, ...)"
        yield Problem("data.sets", "does not go with condition files", why, fix)


def doubled(ctx: Context) -> Iterator[Problem]:
    seen: dict[tuple[Path, int | None], str] = {}
    for key, one in _each(ctx):
        place = Path(one.path).expanduser().absolute(), one.resolution
        if place in seen:
            why = f"{seen[place]} is the same folder at the same resolution: its pictures count twice"
            yield warning(f"{key}.path", "is there twice", why, "leave one out, or give repeats")
        seen.setdefault(place, key)


RULES: tuple[Rule, ...] = (
    layout,
    to_learn,
    shares,
    met_shares,
    weights,
    resolutions,
    classes,
    class_words,
    class_folders,
    conditions,
    doubled,
)
