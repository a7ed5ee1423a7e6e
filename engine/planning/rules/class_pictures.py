"""Rules about class pictures."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from engine.plan.problems import Problem, warning
from engine.planning.rules.context import Context, Rule


def class_pictures(ctx: Context) -> Iterator[Problem]:
    data = ctx.plan.data
    asked = bool(data.class_path or data.class_count)
    if not asked:
        if data.class_prompt and not data.class_sets:
            why = "without class pictures nothing is captioned by it"
            fix = "set data.class_count (200 is usual), or data.class_path"
            yield warning("data.class_prompt", "has no effect", why, fix)
        return
    if ctx.spec.class_obstacle:
        key = "data.class_path" if data.class_path else "data.class_count"
        fix = "leave data.class_path and data.class_count out"
        yield Problem(key, f"{ctx.spec.title} takes no class pictures", ctx.spec.class_obstacle, fix)
        return
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
    if not data.class_path or ctx.spec.class_obstacle:
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


RULES: tuple[Rule, ...] = (class_pictures, class_folder)
