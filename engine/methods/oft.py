"""OFT: layers whose outputs are rotated in blocks.

Orthogonal fine-tuning (Qiu et al. 2023, arXiv:2306.07280) in the form that LyCORIS calls diag-oft and ComfyUI and
AUTOMATIC1111 read: output block k of a weight becomes R_k^T W_k with R = (I + Q)(I - Q)^-1 and Q = blocks - blocks^T
(Cayley's transform). Lengths of weights and angles between those of one block stay as they are; a bias is not rotated.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn

from engine.plan.methods.lora_counts import block_side


class Rotated(nn.Module):
    """A frozen linear layer or convolution, of which the outputs are rotated; at first by nothing."""

    def __init__(self, base_layer: nn.Module, side: int) -> None:
        """`side` is the most that the side of a block may be."""
        super().__init__()
        own = cast(Any, base_layer)
        self.convolution = isinstance(base_layer, nn.Conv2d)
        outputs = own.out_channels if self.convolution else own.out_features
        side = block_side(outputs, side)
        self.base_layer = base_layer
        self.oft_blocks = nn.Parameter(torch.zeros(outputs // side, side, side))

    @property
    def weight(self) -> Tensor:
        return cast(Tensor, self.base_layer.weight)

    @property
    def bias(self) -> Tensor | None:
        return cast("Tensor | None", self.base_layer.bias)

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """[b, c, h, w] or [..., c]. What is added is computed by itself: a rotation by little would be none in bf16."""
        answer: Tensor = self.base_layer(x, *args, **kwargs)
        turn = beyond_identity(self.oft_blocks)
        change = self._turned(turn.to(answer.dtype), answer)
        if self.bias is not None:
            still = torch.einsum("knm,kn->km", turn, self.bias.float().view(turn.shape[:2])).flatten()
            change = change - (still.view(-1, 1, 1) if self.convolution else still).to(change.dtype)
        return (answer + change).to(answer.dtype)

    def _turned(self, turn: Tensor, answer: Tensor) -> Tensor:
        count, side = turn.shape[:2]
        if self.convolution:
            parts = answer.reshape(answer.shape[0], count, side, *answer.shape[2:])
            return torch.einsum("knm,bknhw->bkmhw", turn, parts).reshape(answer.shape)
        parts = answer.reshape(*answer.shape[:-1], count, side)
        return torch.einsum("knm,...kn->...km", turn, parts).reshape(answer.shape)


def beyond_identity(blocks: Tensor) -> Tensor:
    """R - I for blocks [k, n, n], in fp32: 2 (I - Q)^-1 Q.

    I - Q can always be inverted, so nobody looks whether it was, which would halt a GPU.
    """
    skew = blocks.float() - blocks.float().transpose(1, 2)
    one = torch.eye(blocks.shape[1], device=blocks.device)
    found: Tensor = torch.linalg.solve_ex(one - skew, 2 * skew).result
    return found


def rotate(part: nn.Module, sides: Mapping[str, int]) -> None:
    """Put a `Rotated` in the place of each layer of `part`; `sides` are the most that their blocks' sides may be."""
    for path, side in sides.items():
        parent, _, name = path.rpartition(".")
        owner = part.get_submodule(parent)
        setattr(owner, name, Rotated(owner.get_submodule(name), side))
