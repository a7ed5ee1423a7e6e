"""Dropout of ranks and of whole modules for a LoRA, which peft has for LoHa and LoKr alone."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


def drop_ranks(part: nn.Module, adapter: str, rank_share: float, module_share: float) -> None:
    """From now on each adapted layer of `part` drops ranks, or its whole change, while it trains.

    As in kohya's scripts (networks/lora.py): a rank is dropped for a picture and the rest made stronger by
    1 / (1 - share); a module is dropped for a whole batch, and the others stay as they are. Draws come from torch's
    global generator of the device, as those of its own dropout do.
    """
    if rank_share == module_share == 0:
        return

    def drop(layer: nn.Module, given: tuple[Any, ...], answer: Tensor) -> Tensor | None:
        if not layer.training:
            return None
        if module_share > 0:
            answer = answer * (torch.rand((), device=answer.device) >= module_share)
        if rank_share > 0:
            answer = answer * _kept(answer, isinstance(layer, nn.Conv2d), rank_share)
        return answer

    for module in part.modules():
        lowers: Any = getattr(module, "lora_A", {})
        if adapter in lowers:
            lowers[adapter].register_forward_hook(drop)


def _kept(answer: Tensor, convolution: bool, share: float) -> Tensor:
    """1 / (1 - share) or 0 for each picture and rank: ranks are an answer's second axis behind a convolution, else its
    last."""
    axis = 1 if convolution else answer.ndim - 1
    shape = [1] * answer.ndim
    shape[0], shape[axis] = answer.shape[0], answer.shape[axis]
    kept = torch.rand(shape, device=answer.device) >= share
    return kept.to(answer.dtype) / (1 - share)
