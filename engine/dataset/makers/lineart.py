"""White lines on black by the drawing network of Chan, Durand and Isola (arXiv:2203.12691), ControlNet's line art."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from engine.dataset.annotators import Maker
from engine.dataset.images import Pixels
from engine.dataset.makers.nets import as_tensor, from_pickle, grey

WIDTH, DEPTH = 64, 3
# The network halves the picture twice.
STEP = 4
# Reflection needs more than its own width of picture.
LEAST = 16


class Residual(nn.Module):
    """Two convolutions beside a shortcut."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv_block = nn.Sequential(
            nn.ReflectionPad2d(1),
            nn.Conv2d(width, width, 3),
            nn.InstanceNorm2d(width),
            nn.ReLU(),
            nn.ReflectionPad2d(1),
            nn.Conv2d(width, width, 3),
            nn.InstanceNorm2d(width),
        )

    def forward(self, hidden: Tensor) -> Tensor:
        """[b, c, h, w] of the same shape."""
        added: Tensor = hidden + self.conv_block(hidden)
        return added


class Drawing(nn.Module):
    """From pixels [b, 3, h, w] in [0, 1] to ink [b, 1, h, w], 0 on a line; sides are multiples of STEP."""

    def __init__(self) -> None:
        super().__init__()
        self.model0 = nn.Sequential(
            nn.ReflectionPad2d(3), nn.Conv2d(3, WIDTH, 7), nn.InstanceNorm2d(WIDTH), nn.ReLU()
        )
        self.model1 = nn.Sequential(*_down(WIDTH), *_down(2 * WIDTH))
        self.model2 = nn.Sequential(*(Residual(4 * WIDTH) for _ in range(DEPTH)))
        self.model3 = nn.Sequential(*_up(4 * WIDTH), *_up(2 * WIDTH))
        self.model4 = nn.Sequential(nn.ReflectionPad2d(3), nn.Conv2d(WIDTH, 1, 7), nn.Sigmoid())

    def forward(self, pixels: Tensor) -> Tensor:
        """The drawing."""
        drawn: Tensor = self.model4(self.model3(self.model2(self.model1(self.model0(pixels)))))
        return drawn


def _down(width: int) -> Iterator[nn.Module]:
    yield nn.Conv2d(width, 2 * width, 3, stride=2, padding=1)
    yield nn.InstanceNorm2d(2 * width)
    yield nn.ReLU()


def _up(width: int) -> Iterator[nn.Module]:
    yield nn.ConvTranspose2d(width, width // 2, 3, stride=2, padding=1, output_padding=1)
    yield nn.InstanceNorm2d(width // 2)
    yield nn.ReLU()


def load(folders: Sequence[Path]) -> Maker:
    """The maker of the weights in the one folder."""
    (folder,) = folders
    net = from_pickle(Drawing(), folder / "sk_model.pth")

    @torch.no_grad()
    def make(picture: Pixels) -> Pixels:
        high, wide = picture.shape[:2]
        pixels = as_tensor(picture)
        down, across = (max(LEAST, -(-side // STEP) * STEP) - side for side in (high, wide))
        drawn = net(pad(pixels, (0, across, 0, down), mode="replicate"))
        return grey(1.0 - drawn[0, 0, :high, :wide].numpy())

    return make
