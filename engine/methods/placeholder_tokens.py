"""New words for a CLIP text encoder: a tokenizer that knows them, and an embedding that has rows for them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from engine.dataset.names import nfc


class WordTokenizer:
    """A CLIP tokenizer with new words, each of which becomes its rows' numbers -1, -2, ... in the token ids.

    Numbers below zero, because CLIP encoders with the old config (SDXL's second one) look for the end of the
    text at the highest id: a new id above the vocabulary's would be taken for the end.
    """

    def __init__(self, tokenizer: Any, words: Mapping[str, Sequence[int]]) -> None:
        """`words` gives each word's rows, counted from 0. A word stands alone and in any case, as a trigger does."""
        self.inner = tokenizer
        self.rows = {nfc(word).lower(): rows for word, rows in words.items()}
        longest = sorted(map(nfc, words), key=len, reverse=True)
        self.pattern = re.compile(
            rf"(?<!\w)({'|'.join(re.escape(word) for word in longest)})(?!\w)", re.IGNORECASE
        )

    @property
    def model_max_length(self) -> int:
        return int(self.inner.model_max_length)

    @property
    def bos_token_id(self) -> int:
        return int(self.inner.bos_token_id)

    @property
    def eos_token_id(self) -> int:
        return int(self.inner.eos_token_id)

    @property
    def pad_token_id(self) -> int:
        return int(self.inner.pad_token_id)

    @property
    def name_or_path(self) -> str:
        """The folder that the tokenizer came from."""
        return str(self.inner.name_or_path)

    def __call__(self, texts: Sequence[str], **options: Any) -> Any:
        """`input_ids` [b, tokens], cut and padded to the model's length; the options of transformers' call are
        those that this always does."""
        return SimpleNamespace(input_ids=torch.tensor([self._padded(text) for text in texts]))

    def pieces(self, text: str) -> list[int]:
        """The ids of a text without start and end."""
        found: list[int] = []
        # Words stand at odd places, as the pattern has one group.
        for place, part in enumerate(self.pattern.split(nfc(text))):
            if place % 2:
                found += [-1 - row for row in self.rows[part.lower()]]
            elif part.strip():
                found += self.inner(part, add_special_tokens=False, verbose=False).input_ids
        return found

    def _padded(self, text: str) -> list[int]:
        length = self.model_max_length
        ids = [self.bos_token_id, *self.pieces(text)[: length - 2], self.eos_token_id]
        return ids + [self.pad_token_id] * (length - len(ids))


class WordEmbedding(nn.Module):
    """A token embedding whose own rows stay as they are; ids below zero read `rows` [n, width] instead."""

    def __init__(self, embedding: nn.Embedding, rows: Tensor) -> None:
        super().__init__()
        self.weight = embedding.weight
        self.rows = nn.Parameter(rows)

    def forward(self, ids: Tensor) -> Tensor:
        """[b, tokens, width], in the rows' dtype; on a CPU in the table's."""
        known = functional.embedding(ids.clamp(min=0), self.weight).to(self.rows.dtype)
        new = functional.embedding((-1 - ids).clamp(min=0), self.rows)
        mixed = torch.where((ids < 0)[..., None], new, known)
        # A CPU's autocast leaves LayerNorm alone, which then takes its weights' dtype only.
        return mixed.to(self.weight.dtype) if mixed.device.type == "cpu" else mixed


def median_norm(weight: Tensor) -> float:
    """The median length of a vocabulary's vectors, which are [n, width]."""
    return float(weight.float().norm(dim=-1).median())


def first_rows(
    weight: Tensor, known: Sequence[int], count: int, norm: float, generator: torch.Generator
) -> Tensor:
    """Rows to start from, [count, width] fp32: the vectors of `known` ids in turn, or random ones with the
    vocabulary's mean and deviation (as a pivotal tuning starts), scaled to `norm`."""
    table = weight.detach().float()
    if known:
        return torch.stack([table[known[index % len(known)]] for index in range(count)]).clone()
    mean, deviation = table.mean(0), table.std(0)
    rows = mean + deviation * torch.randn(count, table.shape[1], generator=generator)
    scaled: Tensor = rows * (norm / rows.norm(dim=-1, keepdim=True))
    return scaled
