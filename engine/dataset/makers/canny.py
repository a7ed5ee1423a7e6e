"""White edges on black (Canny 1986, through OpenCV)."""

from collections.abc import Sequence
from pathlib import Path
from typing import cast

import cv2
import numpy as np

from engine.dataset.annotators import Maker
from engine.dataset.images import Pixels

# The thresholds that ControlNet's own canny data and its demo use (lllyasviel/ControlNet, gradio_canny2image).
LOW, HIGH = 100, 200


def load(folders: Sequence[Path]) -> Maker:
    """The maker; it needs no weights."""
    return canny


def canny(picture: Pixels) -> Pixels:
    """Edges of the picture in grey."""
    edges = cv2.Canny(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), LOW, HIGH)
    return cast(Pixels, np.repeat(edges[:, :, None], 3, axis=2))
