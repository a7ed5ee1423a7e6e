"""Changes of a picture's colours: brightness, contrast, saturation and hue, in this order."""

from __future__ import annotations

import math
from dataclasses import astuple, dataclass
from typing import Any

from engine.keys import uniform

NAMES = ("brightness", "contrast", "saturation", "hue")


@dataclass(frozen=True, slots=True)
class Colours:
    """How far each may go: factors from 1 - n to 1 + n, and hue by n of the colour circle to either side. What is drawn
    lies between."""

    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    hue: float = 0.0

    @property
    def any(self) -> bool:
        """Is anything changed?"""
        return any(astuple(self))

    def drawn(self, seed: int, step: int, slot: int) -> Colours:
        """The change of one sample; each kind is drawn under its own name."""
        return Colours(
            *(
                most * (2 * uniform(seed, name, step, slot) - 1)
                for name, most in zip(NAMES, astuple(self), strict=True)
            )
        )


def recoloured(pixels: Any, change: Colours) -> Any:
    """A picture (uint8 or fp32 of 0 to 255, [h, w, 3]) with its colours changed, fp32 of 0 to 255.

    `change` is what was drawn: 0.2 makes a fifth brighter, -0.2 darker. Grey is the weighted sum of Rec. 601, and hue
    turns in its YIQ space, so that grey stays grey. What is 0 changes nothing.
    """
    import numpy as np

    array = np.asarray(pixels, dtype=np.float32)
    if change.brightness:
        array = np.clip(array * np.float32(1 + change.brightness), 0, 255)
    if change.contrast:
        middle = np.float32(_grey(array).mean())
        array = np.clip(middle + (array - middle) * np.float32(1 + change.contrast), 0, 255)
    if change.saturation:
        grey = _grey(array)
        array = np.clip(grey + (array - grey) * np.float32(1 + change.saturation), 0, 255)
    if change.hue:
        array = np.clip(array @ _turn(change.hue * math.tau).T, 0, 255)
    return array


def _grey(array: Any) -> Any:
    import numpy as np

    return (array @ np.array([0.299, 0.587, 0.114], dtype=np.float32))[:, :, None]


def _turn(angle: float) -> Any:
    import numpy as np

    yiq = np.array([[0.299, 0.587, 0.114], [0.5959, -0.2746, -0.3213], [0.2115, -0.5227, 0.3112]])
    cos, sin = math.cos(angle), math.sin(angle)
    turned = np.array([[1, 0, 0], [0, cos, -sin], [0, sin, cos]])
    return (np.linalg.inv(yiq) @ turned @ yiq).astype(np.float32)
