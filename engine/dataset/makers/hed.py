"""Soft edges by HED, as ControlNet trained it (Xie and Tu, arXiv:1504.06375; lllyasviel/Annotators, Apache 2.0)."""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate, max_pool2d, relu

from engine.dataset.annotators import Maker
from engine.dataset.images import Pixels
from engine.dataset.makers.nets import as_tensor, from_pickle, grey

# Channels and layers of the five levels.
LEVELS = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))


class Level(nn.Module):
    """Convolutions at one scale, and an edge map read off them."""

    def __init__(self, entering: int, channels: int, layers: int) -> None:
        super().__init__()
        widths = [entering, *[channels] * layers]
        self.convs = nn.Sequential(
            *(nn.Conv2d(before, after, 3, padding=1) for before, after in pairwise(widths))
        )
        self.projection = nn.Conv2d(channels, 1, 1)

    def forward(self, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """The hidden state [b, c, h, w] and logits [b, 1, h, w]."""
        for conv in self.convs:
            hidden = relu(conv(hidden))
        return hidden, self.projection(hidden)


class Hed(nn.Module):
    """Five levels, each half as large as the one before; the edges are their mean."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.Parameter(torch.zeros(1, 3, 1, 1))
        entering = 3
        for index, (channels, layers) in enumerate(LEVELS, 1):
            self.add_module(f"block{index}", Level(entering, channels, layers))
            entering = channels

    def forward(self, pixels: Tensor) -> Tensor:
        """Edges [b, 1, h, w] in [0, 1] of pixels [b, 3, h, w] in [0, 255]."""
        hidden, maps = pixels - self.norm, []
        for index in range(1, len(LEVELS) + 1):
            hidden = max_pool2d(hidden, 2) if index > 1 else hidden
            hidden, edges = self.get_submodule(f"block{index}")(hidden)
            maps.append(interpolate(edges, size=pixels.shape[-2:], mode="bilinear", align_corners=False))
        return torch.sigmoid(torch.stack(maps).mean(dim=0))


def load(folders: Sequence[Path]) -> Maker:
    """The maker of the weights in the one folder."""
    (folder,) = folders
    net = from_pickle(Hed(), folder / "ControlNetHED.pth")

    @torch.no_grad()
    def make(picture: Pixels) -> Pixels:
        return grey(net(as_tensor(picture) * 255.0)[0, 0].numpy())

    return make
