"""Conditioning of the captions: embedded once and kept, or tokenised for every batch where an encoder trains."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial

import torch
from torch import Tensor

from engine.dataset.cache import TensorCache, cache_key
from engine.dataset.cached_encoder import CachedEncoder
from engine.families.base import Conditioning
from engine.families.clip_text import TextReading
from engine.train.ahead import held, sent
from engine.train.encoded_table import EncodedTable
from engine.train.modelhash import module_hash
from engine.train.setup import AdaptedModel

ReadyTexts = Callable[[], Callable[[], Conditioning]]
"""What gives the conditioning of a batch, for the thread that trains."""


class TextTable:
    """Embeddings of every caption and of the empty one."""

    def __init__(
        self,
        table: Mapping[str, Mapping[str, Tensor]] | EncodedTable[str],
        device: torch.device,
    ) -> None:
        self._table = table
        self._device = device

    @classmethod
    def build(
        cls,
        texts: Collection[str],
        adapted: AdaptedModel,
        cache: TensorCache,
        progress: Callable[[int, int], None],
    ) -> TextTable:
        """Read what the cache holds of these texts and embed the rest."""
        # The longest first: by its size the table sees whether all lie in memory.
        distinct = sorted({"", *texts}, key=lambda text: (-len(text), text))
        parts = [module_hash(adapted.family.parts[part]) for part in adapted.family.spec.text_parts]
        # A tokenizer's padding changes what the same weights make of a caption.
        pads = [f"{len(each)}/{each.pad_token_id}" for each in adapted.family.tokenizers.values()]
        about = (adapted.family.spec.name, adapted.precision, *parts, *pads, *_read(adapted.family.reading))
        encoder: CachedEncoder[str] = CachedEncoder(
            cache,
            lambda text: cache_key("text", text, *about),
            lambda text: partial(embed, adapted, text),
        )
        with adapted.idle.staying():
            return cls(EncodedTable.build(encoder, distinct, progress), adapted.device)

    def gather(self, texts: Sequence[str]) -> ReadyTexts:
        """Read the rows of these texts, in any thread."""
        table = self._table
        if not isinstance(table, EncodedTable):
            return partial(self._sent, self._joined([table[text] for text in texts]))
        found = table.peek(texts)
        whole = [row for row in found if row is not None]
        if len(whole) == len(found):
            return partial(self._sent, self._joined(whole))
        return lambda: self._sent(self._joined(table.filled(texts, found)))

    def _joined(self, rows: Sequence[Mapping[str, Tensor]]) -> Conditioning:
        conds = [Conditioning.from_rows({name: value[None] for name, value in row.items()}) for row in rows]
        return Conditioning.joined(conds).map(lambda value: held(value, self._device))

    def _sent(self, here: Conditioning) -> Callable[[], Conditioning]:
        cond = here.map(lambda value: sent(value, self._device))
        return lambda: cond


def _read(reading: TextReading) -> list[str]:
    """What of a reading is part of a cached text's key: nothing of the usual one."""
    usual = TextReading()
    chunks = [f"chunks {reading.chunks}"] if reading.chunks != usual.chunks else []
    return chunks + ([f"layer {reading.layer}"] if reading.layer != usual.layer else [])


@torch.no_grad()
def embed(adapted: AdaptedModel, text: str) -> dict[str, Tensor]:
    """A text's named embeddings on the CPU, without the batch dimension."""
    with adapted.idle.here(*adapted.family.spec.text_parts):
        cond = adapted.family.encode_text(adapted.family.tokenize([text]))
    return {name: value[0].cpu() for name, value in cond.rows().items()}


class LiveTexts:
    """Token ids, for text encoders that train, and embeddings made anew where captions change from draw to draw."""

    def __init__(self, adapted: AdaptedModel, trains: bool) -> None:
        """`trains`: weights of a text encoder change."""
        self._ready = adapted
        self._trains = trains

    def gather(self, texts: Sequence[str]) -> ReadyTexts:
        """Texts that are tokenised by the thread that trains: tokenizers are not for several."""
        return partial(self._cond, texts)

    def _cond(self, texts: Sequence[str]) -> Callable[[], Conditioning]:
        """Embedded when it is asked where an encoder trains."""
        family = self._ready.family
        ids = family.tokenize(texts)
        if self._trains:
            return partial(family.encode_text, ids)
        with torch.no_grad():
            cond = family.encode_text(ids)
        return lambda: cond
