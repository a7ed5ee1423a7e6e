"""Says which captions are longer than what is read of them, counted by the model's own tokenizer."""

from __future__ import annotations

from collections.abc import Iterable

from engine.dataset.captions import MAX_TOKENS, approximate_tokens
from engine.dataset.findings import printable
from engine.dataset.report import Item
from engine.families.base import ModelFamily
from engine.families.clip_text import pieces
from engine.train.autoencoder import Warn

SHOWN = 8
# The estimate is within a third for English and tags; a caption below this share of the limit is not counted.
SHARE = 0.6


def warn_of_cut(items: Iterable[Item], family: ModelFamily, warn: Warn) -> None:
    """One warning, "caption-cut", that names the pictures whose captions lose their end."""
    limit = family.reading.chunks * MAX_TOKENS
    counted: dict[str, int] = {}
    tokenizer = next(iter(family.tokenizers.values()))
    cut: list[str] = []
    for item in items:
        text = item.caption
        if len(text) <= SHARE * limit or approximate_tokens(text) <= SHARE * limit:
            continue
        if text not in counted:
            counted[text] = len(pieces(tokenizer, text))
        if counted[text] > limit:
            cut.append(f"{printable(item.rel)} ({counted[text]})")
    if cut:
        shown = ", ".join(cut[:SHOWN]) + (f" and {len(cut) - SHOWN} more" if len(cut) > SHOWN else "")
        more = "" if limit >= 3 * MAX_TOKENS else "; captions.max_tokens reads up to 225"
        warn(
            "caption-cut",
            f"{len(cut)} captions are cut, because {limit} tokens of them are read: {shown}{more}",
        )
