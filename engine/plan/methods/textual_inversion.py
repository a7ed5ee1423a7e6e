"""Textual inversion: new words for the text encoder(s), everything else unchanged."""

from __future__ import annotations

from engine.plan.fields import option
from engine.plan.methods.base import MethodOptions, MethodSpec


class TextualInversionOptions(MethodOptions):
    """Options of method textual_inversion."""

    tokens: list[str] = option([], "the new words; none takes data.trigger")
    vectors: int = option(1, "embedding vectors a word; more hold more and bend the prompt more", ge=1, le=75)
    initial: list[str] = option(
        [],
        "what each new word starts from, one text for all or one a word; its tokens are copied in turn; "
        "none is random with the vocabulary's statistics",
    )
    keep_norm: bool = option(True, "hold each vector at the vocabulary's median norm")

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


SPEC = MethodSpec(
    name="textual_inversion",
    title="Textual inversion",
    goal="teach a word (an embedding) for a new concept",
    input="3 to 20 pictures and a unique placeholder such as <cinematic-guy>",
    output="a token embedding of a few kilobytes",
    use="simple styles, textures, poses, aesthetics; tiny files, limited reach",
    options=TextualInversionOptions,
    formats=("embedding", "a1111_embedding"),
    default_formats=1,
    requires=frozenset({"unet", "text_encoder"}),
    typical_pictures=(3, 20),
    asks=("data.trigger", "textual_inversion.initial", "textual_inversion.tokens", "data.flip"),
)
