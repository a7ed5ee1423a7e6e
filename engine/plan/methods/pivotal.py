"""Pivotal tuning: a new word that is taught together with a LoRA."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from engine.plan.methods.context import PlanContext
from engine.plan.methods.textual_inversion import in_captions, made_up
from engine.plan.problems import Problem, warning

if TYPE_CHECKING:
    from engine.plan.methods.lora import LoraOptions

FORMATS = ("a1111_embedding", "embedding")
"""The formats of the word's own files."""


def problems(options: LoraOptions, ctx: PlanContext) -> Iterator[Problem]:
    """What is wrong with the word."""
    table, word = ctx.plan.method, ctx.plan.data.trigger
    key = f"{table}.word_vectors"
    if not options.word_vectors:
        for name in ("word_initial", "word_rate"):
            if getattr(options, name):
                fix = f"set {key} to 1 or more, or leave it out"
                yield warning(f"{table}.{name}", "changes nothing", f"{key} is 0, so no word is taught", fix)
        return
    if not word:
        fix = "set data.trigger to a made-up word such as <cinematic-guy>"
        yield Problem(key, "there is no word to teach", "data.trigger is empty", fix)
        return
    yield from in_captions((word,), ctx, key)
    yield from made_up((word,), ctx, key)
