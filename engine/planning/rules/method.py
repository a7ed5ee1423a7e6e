"""Rules about the method, its options, and what contradicts them."""

from __future__ import annotations

import difflib
from collections.abc import Iterator

from engine.plan.problems import Problem
from engine.planning.rules.context import Context, Rule


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


def own(ctx: Context) -> Iterator[Problem]:
    """What the method itself has against its options."""
    return ctx.plan.options.problems(ctx)


RULES: tuple[Rule, ...] = (possible, caches, formats, own)
