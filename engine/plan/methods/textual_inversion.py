"""Textual inversion: new words for the text encoder(s), everything else unchanged."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import ClassVar

from engine.files import file_word
from engine.plan.fields import option
from engine.plan.methods import embedding_start
from engine.plan.methods.base import Lesson, MethodOptions, MethodSpec
from engine.plan.methods.context import BaseShape, Derived, GrowingPlan, PlanContext
from engine.plan.problems import Problem, warning

KEY = "textual_inversion.tokens"


class TextualInversionOptions(MethodOptions):
    """Options of method textual_inversion."""

    path_fields: ClassVar[tuple[str, ...]] = ("start",)
    path_endings: ClassVar[Mapping[str, tuple[str, ...]]] = {"start": (".safetensors", ".pt", ".bin")}
    sizeless_fields: ClassVar[frozenset[str]] = frozenset(
        {"tokens", "vectors", "initial", "keep_norm", "start"}
    )

    tokens: list[str] = option([], "the new words; none takes data.trigger")
    vectors: int = option(1, "embedding vectors a word; more hold more and bend the prompt more", ge=1, le=75)
    initial: list[str] = option(
        [],
        "what each new word starts from, one text for all or one a word; its tokens are copied in turn; "
        "none is random with the vocabulary's statistics",
    )
    keep_norm: bool = option(True, "hold each vector at the vocabulary's median norm")
    start: str = option(
        "",
        "a word's file to go on from (.pt, .safetensors, diffusers' learned_embeds); none begins with initial",
        advanced=True,
    )

    @property
    def trains_text(self) -> bool:
        return True

    def words(self, trigger: str) -> tuple[str, ...]:
        """The new words: `tokens`, or else the data's trigger."""
        return tuple(self.tokens) or ((trigger,) if trigger else ())

    def initial_of(self, index: int) -> str:
        """What word number `index` starts from; empty is random."""
        if not self.initial:
            return ""
        return self.initial[index] if len(self.initial) > 1 else self.initial[0]

    def file_stem(self, trigger: str) -> str:
        # Programs take the file's name for the word in a prompt.
        return next((file_word(word) for word in self.words(trigger)), "")

    def problems(self, ctx: PlanContext) -> Iterator[Problem]:
        words = self.words(ctx.plan.data.trigger)
        yield from _named(words)
        yield from _started(self, words)
        if self.start and words:
            yield from embedding_start.problems(self.start, self.vectors, self.initial, words, ctx)
        yield from in_captions(words, ctx, KEY)
        yield from made_up(words, ctx, KEY)

    @classmethod
    def derive(cls, plan: GrowingPlan) -> Iterator[Derived]:
        yield from embedding_start.derived(plan)
        if plan.uncaptioned and plan.given.get("data.trigger"):
            why = (
                f"{plan.uncaptioned} pictures have no caption: phrases around the word teach it as part of a sentence, "
                "as Gal et al. train it; for a style set style"
            )
            yield Derived("captions.templates", ["subject"], why)

    def trained_parameters(self, shape: BaseShape, trigger: str) -> int:
        return len(self.words(trigger)) * self.vectors * shape.text_width


def _named(words: Sequence[str]) -> Iterator[Problem]:
    if not words:
        fix = "set data.trigger to a made-up word such as <cinematic-guy>, and write it where the thing is meant"
        yield Problem(KEY, "there is no word to teach", "data.trigger is empty too", fix)
    if len({word.lower() for word in words}) < len(words):
        yield Problem(KEY, "the same word stands twice", "case is not told apart", "give each word once")
    for word in words:
        if not word.strip() or word != word.strip():
            yield Problem(KEY, f"{word!r} is no word", "spaces at its ends are lost", "leave them out")


def _started(options: TextualInversionOptions, words: Sequence[str]) -> Iterator[Problem]:
    if len(options.initial) > 1 and len(options.initial) != len(words):
        what = f"{len(options.initial)} texts for {len(words)} words"
        fix = "give one text for all, or one for each word"
        yield Problem("textual_inversion.initial", what, "each word starts from one text", fix)
    room = 75 // max(1, len(words))
    if options.vectors > 16:
        why = f"a prompt has room for 75 tokens, so {room} at most for each, and other words get none"
        fix = "1 to 8 is usual"
        yield warning("textual_inversion.vectors", f"{options.vectors} vectors a word", why, fix)


def in_captions(words: Sequence[str], ctx: PlanContext, key: str) -> Iterator[Problem]:
    """Words of which no caption, or only some, have one; `key` is the field that names them."""
    from engine.dataset.captions import has_trigger

    if ctx.report is None or not words:
        return
    items = ctx.report.items
    without = [item for item in items if not any(has_trigger(item.caption, word) for word in words)]
    if items and len(without) == len(items):
        why = "what is not in a caption is not learnt"
        fix = f"set data.trigger = {words[0]!r}, which puts it in front, or write it into the captions"
        yield Problem(key, f"no caption has {' or '.join(words)}", why, fix)
    elif without:
        what = f"{len(without)} of {len(items)} captions have none of the words"
        yield warning(key, what, "those pictures teach nothing", "write a word into them")
    for word in words if len(words) > 1 else ():
        if len(without) < len(items) and not any(has_trigger(item.caption, word) for item in items):
            yield Problem(key, f"no caption has {word!r}", "it would stay as it starts", "use it, or drop it")


def made_up(words: Sequence[str], ctx: PlanContext, key: str) -> Iterator[Problem]:
    """Words that the model's tokenizer has already."""
    from engine.models.bases import tokenizer_folder

    if ctx.base is None or ctx.base.path is None:
        return
    folder = tokenizer_folder(ctx.base, ctx.plan.base.tokenizer)
    if folder is None or not (folder / "vocab.json").is_file():
        return
    try:
        known = json.loads((folder / "vocab.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return
    for word in words if isinstance(known, dict) else ():
        if f"{word.lower()}</w>" in known:
            why = "the new word hides the old one, and diffusers refuses to load it under that name"
            yield warning(key, f"{word!r} is a word that the model knows", why, f"take <{word}>")


SPEC = MethodSpec(
    name="textual_inversion",
    title="Textual inversion",
    goal="teach a word (an embedding) for a new concept",
    input="3 to 20 pictures and a unique placeholder such as <cinematic-guy>",
    output="a token embedding of a few kilobytes",
    use="simple styles, textures, poses, aesthetics; tiny files, limited reach",
    options=TextualInversionOptions,
    behaviour="engine.methods.textual_inversion:TextualInversion",
    formats=("a1111_embedding", "embedding"),
    default_formats=2,
    requires=frozenset({"text_encoder"}),
    typical_pictures=(3, 20),
    asks=(
        "data.trigger",
        "textual_inversion.initial",
        "textual_inversion.tokens",
        "captions.templates",
        "captions.class_word",
        "data.flip",
    ),
    labels={
        "data.trigger": "new word",
        "textual_inversion.initial": "starts from",
        "textual_inversion.tokens": "or several words",
    },
    lesson=Lesson(
        "word",
        16,
        "a word for a striped purple star on sand, with no new weights in the model",
        "<morp>",
        {"samples.prompts": ["a <morp>", "a <morp> at the top", "a <morp> on the left", "a yellow circle"]},
    ),
)
