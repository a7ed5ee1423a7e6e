"""Rules about textual inversion: its words, what they start from, and captions that must name them."""

from __future__ import annotations

import json
from collections.abc import Iterator

from engine.dataset.captions import has_trigger
from engine.models.bases import tokenizer_folder
from engine.plan.methods.textual_inversion import TextualInversionOptions
from engine.plan.problems import Problem
from engine.planning.rules.context import Context, Rule, warning

KEY = "textual_inversion.tokens"


def _options(ctx: Context) -> tuple[TextualInversionOptions, tuple[str, ...]] | None:
    options = ctx.plan.options
    if not isinstance(options, TextualInversionOptions):
        return None
    return options, options.words(ctx.plan.data.trigger)


def named(ctx: Context) -> Iterator[Problem]:
    found = _options(ctx)
    if found is None:
        return
    words = found[1]
    if not words:
        fix = "set data.trigger to a made-up word such as <cinematic-guy>, and write it where the thing is meant"
        yield Problem(KEY, "there is no word to teach", "data.trigger is empty too", fix)
    if len({word.lower() for word in words}) < len(words):
        yield Problem(KEY, "the same word stands twice", "case is not told apart", "give each word once")
    for word in words:
        if not word.strip() or word != word.strip():
            yield Problem(KEY, f"{word!r} is no word", "spaces at its ends are lost", "leave them out")


def started(ctx: Context) -> Iterator[Problem]:
    found = _options(ctx)
    if found is None:
        return
    options, words = found
    if len(options.initial) > 1 and len(options.initial) != len(words):
        what = f"{len(options.initial)} texts for {len(words)} words"
        fix = "give one text for all, or one for each word"
        yield Problem("textual_inversion.initial", what, "each word starts from one text", fix)
    room = 75 // max(1, len(words))
    if options.vectors > 16:
        why = f"a prompt has room for 75 tokens, so {room} at most for each, and other words get none"
        fix = "1 to 8 is usual"
        yield warning("textual_inversion.vectors", f"{options.vectors} vectors a word", why, fix)


def in_captions(ctx: Context) -> Iterator[Problem]:
    found = _options(ctx)
    if found is None or ctx.report is None or not found[1]:
        return
    words, items = found[1], ctx.report.items
    without = [item for item in items if not any(has_trigger(item.caption, word) for word in words)]
    if items and len(without) == len(items):
        why = "what is not in a caption is not learnt"
        fix = f"set data.trigger = {words[0]!r}, which puts it in front, or write it into the captions"
        yield Problem(KEY, f"no caption has {' or '.join(words)}", why, fix)
    elif without:
        what = f"{len(without)} of {len(items)} captions have none of the words"
        yield warning(KEY, what, "those pictures teach nothing", "write a word into them")
    for word in words if len(words) > 1 else ():
        if len(without) < len(items) and not any(has_trigger(item.caption, word) for item in items):
            yield Problem(KEY, f"no caption has {word!r}", "it would stay as it starts", "use it, or drop it")


def made_up(ctx: Context) -> Iterator[Problem]:
    found = _options(ctx)
    if found is None or ctx.base is None or ctx.base.path is None:
        return
    folder = tokenizer_folder(ctx.base, ctx.plan.base.tokenizer)
    if folder is None or not (folder / "vocab.json").is_file():
        return
    try:
        known = json.loads((folder / "vocab.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return
    for word in found[1]:
        if f"{word.lower()}</w>" in known:
            why = "the new word hides the old one, and diffusers refuses to load it under that name"
            yield warning(KEY, f"{word!r} is a word that the model knows", why, f"take <{word}>")


def learning_rate(ctx: Context) -> Iterator[Problem]:
    if _options(ctx) is None or ctx.plan.train.learning_rate >= 2e-5:
        return
    why = "recipes take 3e-4 to 5e-3; kohya's 1e-6 leaves the word where it started"
    what = f"{ctx.plan.train.learning_rate:g} hardly moves a word"
    yield warning("train.learning_rate", what, why, "set 5e-4")


RULES: tuple[Rule, ...] = (named, started, in_captions, made_up, learning_rate)
