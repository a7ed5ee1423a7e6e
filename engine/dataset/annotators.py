"""Makes condition pictures from plain pictures: edges, and depth, pose and lines through controlnet-aux."""

from collections.abc import Callable
from functools import lru_cache
from importlib.util import find_spec
from typing import Any, cast

import numpy as np

from engine.dataset.images import Pixels
from engine.errors import UserError
from engine.hub import snapshot

Maker = Callable[[Pixels], Pixels]
"""From a picture (uint8, H x W x 3, RGB) to its condition of the same height and width."""

VERSION = 1
"""Part of every cached map's key: raise it when the same picture would give another map."""
# The thresholds that ControlNet's own canny data and its demo use (lllyasviel/ControlNet, gradio_canny2image).
CANNY_LOW, CANNY_HIGH = 100, 200
ANNOTATORS = "lllyasviel/Annotators"
DETECTORS: dict[str, tuple[str, tuple[str, ...]]] = {
    "depth": ("MidasDetector", ("dpt_hybrid-midas-501f0c75.pt",)),
    "openpose": ("OpenposeDetector", ("body_pose_model.pth", "hand_pose_model.pth", "facenet.pth")),
    "hed": ("HEDdetector", ("ControlNetHED.pth",)),
    "lineart": ("LineartDetector", ("sk_model.pth", "sk_model2.pth")),
}
"""controlnet-aux's class for each kind, and the weight files of ANNOTATORS that it loads."""


def obstacle(kind: str) -> UserError | None:
    """Why maps of this kind cannot be made on this machine, or none when they can. Loads nothing."""
    if kind == "canny":
        if find_spec("cv2") is not None:
            return None
        fix = "pip install opencv-python-headless"
        return UserError("edges cannot be made here", "the package opencv-python-headless is missing", fix)
    _, files = DETECTORS[kind]
    if find_spec("controlnet_aux") is None:
        return UserError(
            f"{kind} maps cannot be made here",
            "they come from the package controlnet-aux, which is not installed",
            'pip install "sdtrain-tui[conditions]", or give the maps as files in condition_path',
        )
    folder = snapshot(ANNOTATORS)
    missing = [name for name in files if folder is None or not (folder / name).is_file()]
    if missing:
        return UserError(
            f"{kind} maps cannot be made here",
            f"the weights {', '.join(missing)} of {ANNOTATORS} are not in the hub cache, and nothing is "
            "downloaded unasked",
            f"hf download {ANNOTATORS} {' '.join(missing)}",
        )
    return None


@lru_cache(maxsize=1)
def maker(kind: str) -> Maker:
    """The function that makes maps of this kind; UserError names the package or weights that are missing."""
    problem = obstacle(kind)
    if problem is not None:
        raise problem
    return canny if kind == "canny" else _detector(kind)


def canny(picture: Pixels) -> Pixels:
    """White edges on black (Canny 1986, through OpenCV)."""
    import cv2

    grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
    edges = cv2.Canny(grey, CANNY_LOW, CANNY_HIGH)
    return cast(Pixels, np.repeat(edges[:, :, None], 3, axis=2))


def _detector(kind: str) -> Maker:
    import controlnet_aux
    import cv2

    name, _ = DETECTORS[kind]
    folder = snapshot(ANNOTATORS)
    # From a folder the detectors read their files and ask no hub.
    found: Any = getattr(controlnet_aux, name).from_pretrained(str(folder))

    def make(picture: Pixels) -> Pixels:
        high, wide = picture.shape[:2]
        side = min(high, wide)
        answer = found(picture, detect_resolution=side, image_resolution=side, output_type="np")
        # The detectors work on sides that are multiples of 64.
        return cast(Pixels, cv2.resize(answer, (wide, high), interpolation=cv2.INTER_AREA))

    return make
