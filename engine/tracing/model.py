"""A family's model without memory, from configs alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from engine.cost.counts import part_config
from engine.families.base import ModelFamily, frozen
from engine.families.registry import FAMILIES
from engine.families.weights import model_class
from engine.models.bases import BaseInfo
from engine.models.published import published
from engine.models.specs import FAMILIES as SPECS

TOKENS = 77


class _AnyWord:
    """Stands for a tokenizer: every text is one word. Sizes depend on no more."""

    model_max_length = TOKENS

    def __call__(self, texts: Sequence[str], **options: Any) -> Any:
        return SimpleNamespace(input_ids=[1])


def meta_family(base: BaseInfo | None, family: str) -> ModelFamily:
    """The base's model, or the published one of its family, in the shapes of its configs on the meta device."""
    spec = SPECS[family]
    configs: dict[str, Mapping[str, Any]] = {
        part: part_config(base, family, part) for part in spec.weight_parts
    }
    configs["scheduler"] = published(family, "scheduler")
    parts = {part: frozen(_empty(model_class(spec, part), configs[part])) for part in spec.weight_parts}
    kind = FAMILIES[family]
    tokenizers = {part: _AnyWord() for part in spec.text_parts}
    return kind(parts, tokenizers, kind.new_schedule(configs["scheduler"]), configs)


def _empty(kind: Any, config: Mapping[str, Any]) -> nn.Module:
    with torch.device("meta"):
        if hasattr(kind, "config_class"):
            module: nn.Module = kind(kind.config_class(**config))
        else:
            module = kind.from_config(dict(config))
    return module


def token_ids(family: ModelFamily, batch: int) -> dict[str, Tensor]:
    """Token ids of so many captions, [batch, tokens] by text part."""
    return {
        part: torch.empty(
            batch,
            int(family.configs[part].get("max_position_embeddings", TOKENS)),
            dtype=torch.int64,
            device="meta",
        )
        for part in family.spec.text_parts
    }
