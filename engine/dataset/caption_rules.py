"""What a plan says of captions, as a scan of its pictures and the draws of their captions follow it."""

from dataclasses import dataclass

from engine.dataset.captions import MAX_TOKENS


@dataclass(frozen=True, slots=True)
class CaptionRules:
    """`max_tokens` of a caption are read; a scan says which are longer."""

    max_tokens: int = MAX_TOKENS


USUAL = CaptionRules()
