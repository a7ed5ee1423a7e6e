"""A function of pictures, piece by piece: overlapping tiles whose seams are blended."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

TILE = 64
"""The side of a tile in latents; 512 pixels with an autoencoder that folds by 8, which is what SD's were trained on."""
OVERLAP = 16
"""What two tiles beside each other share at least, in latents."""


def starts(length: int, tile: int, overlap: int) -> list[int]:
    """Where tiles begin along a side; the last one ends where the side ends."""
    if length <= tile:
        return [0]
    found = list(range(0, length - tile, tile - overlap))
    return [*found, length - tile]


def in_tiles(
    function: Callable[[Tensor], Tensor], whole: Tensor, tile: int, overlap: int, up: int = 1, down: int = 1
) -> Tensor:
    """`function` of `whole` [b, c, h, w], on the CPU in fp32, made of tiles of `tile` x `tile`.

    The function's result is `up` times as large and `down` times as small as what it is given; `tile`, `overlap` and
    the sides of `whole` are multiples of `down`. Where tiles overlap, each counts the less the nearer its edge is.
    """
    height, width = whole.shape[-2:]
    total = weight = torch.zeros(())
    for top in starts(height, tile, overlap):
        for left in starts(width, tile, overlap):
            made = function(whole[..., top : top + tile, left : left + tile]).float().cpu()
            if total.dim() == 0:
                sides = height * up // down, width * up // down
                total, weight = torch.zeros(*made.shape[:-2], *sides), torch.zeros(sides)
            rows, columns = made.shape[-2:]
            seam = overlap * up // down
            share = _share(rows, seam)[:, None] * _share(columns, seam)[None]
            place = (slice(top * up // down, top * up // down + rows),
                     slice(left * up // down, left * up // down + columns))  # fmt: skip
            total[..., place[0], place[1]] += made * share
            weight[place] += share
    return total / weight


def _share(length: int, seam: int) -> Tensor:
    """How much each place along a side counts: it rises over `seam` places from either end."""
    distance = torch.arange(length) + 0.5
    return torch.minimum(distance, distance.flip(0)).clamp(max=max(seam, 1)) / max(seam, 1)
