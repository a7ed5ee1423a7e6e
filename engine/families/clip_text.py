"""How a CLIP text encoder reads a text: in chunks of 75 tokens, up to its last layer or one before it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor


@dataclass(frozen=True)
class TextReading:
    """Up to `chunks` chunks of a text are read; `layer` counts an encoder's layers from its end, 1 is the last."""

    chunks: int = 1
    layer: int = 1


def token_ids(tokenizers: Mapping[str, Any], texts: Sequence[str], chunks: int) -> dict[str, Tensor]:
    """The ids of each text by text part, [b, n * positions]; n is 1 unless a text is longer than one chunk.

    A chunk is start, up to 75 tokens, end, and padding, and each is encoded by itself, as ComfyUI and A1111 do. A
    text that is longer than `chunks` of them is cut. In a batch the chunks of a shorter text come again until all have
    as many: attention over a text that is written twice is attention over the text, so no mask is needed.
    """
    if chunks == 1:
        return {part: _one_chunk(tokenizer, texts) for part, tokenizer in tokenizers.items()}
    found = {part: [_chunked(each, text, chunks) for text in texts] for part, each in tokenizers.items()}
    counts = [max(len(rows[at]) for rows in found.values()) for at in range(len(texts))]
    together = math.lcm(*counts)
    return {
        part: torch.tensor([_repeated(row, count, together) for row, count in zip(rows, counts, strict=True)])
        for part, rows in found.items()
    }


def encode(encoder: Any, ids: Tensor, positions: int, layer: int = 1) -> Tensor:
    """The hidden states of `ids` [b, n * positions], [b, n * positions, width], with the final norm."""
    device = next(encoder.parameters()).device
    rows = ids.to(device).view(-1, positions)
    if layer == 1:
        hidden = encoder(rows)[0]
    else:
        states = encoder(rows, output_hidden_states=True).hidden_states
        hidden = encoder.final_layer_norm(states[-layer])
    return cast(Tensor, hidden.reshape(len(ids), -1, hidden.shape[-1]))


def pieces(tokenizer: Any, text: str) -> list[int]:
    """All ids of a text, without start, end and padding."""
    own = getattr(tokenizer, "pieces", None)
    if own is not None:
        return cast(list[int], own(text))
    return cast(list[int], tokenizer(text, add_special_tokens=False, verbose=False).input_ids)


def _one_chunk(tokenizer: Any, texts: Sequence[str]) -> Tensor:
    tokens = tokenizer(
        list(texts),
        padding="max_length",
        truncation=True,
        max_length=tokenizer.model_max_length,
        return_tensors="pt",
    )
    return cast(Tensor, tokens.input_ids)


def _chunked(tokenizer: Any, text: str, most: int) -> list[list[int]]:
    """At least one chunk, each with start, end and padding."""
    room = tokenizer.model_max_length - 2
    ids = pieces(tokenizer, text)[: most * room]
    start, end, pad = tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id
    parts = [ids[at : at + room] for at in range(0, max(1, len(ids)), room)]
    return [[start, *part, end, *[pad] * (room - len(part))] for part in parts]


def _repeated(row: list[list[int]], count: int, together: int) -> list[int]:
    # Tokenizers of one model have the same words; of two that differ the shorter one's last chunk comes again.
    whole = row + row[-1:] * (count - len(row))
    return [piece for chunk in whole * (together // count) for piece in chunk]
