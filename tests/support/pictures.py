"""Small picture folders, made anew for each test."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image


def write_pictures(folder: Path, count: int = 6, side: int = 64, seed: int = 0, wide: int = 0) -> Path:
    """`count` random pictures with captions; the first `wide` of them are twice as wide as high."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    for index in range(count):
        size = (side // 2, side) if index < wide else (side, side)
        Image.fromarray(rng.integers(0, 255, (*size, 3), dtype=np.uint8)).save(folder / f"{index:02d}.png")
        (folder / f"{index:02d}.txt").write_text(f"a picture, number {index}, style {index % 3}")
    return folder


def write_conditions(pictures: Path, folder: Path, seed: int = 1) -> Path:
    """A random condition picture for every picture, of the same name and size, in another format."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    for file in sorted(pictures.glob("*.png")):
        with Image.open(file) as image:
            size = (image.height, image.width, 3)
        Image.fromarray(rng.integers(0, 255, size, dtype=np.uint8)).save(
            folder / f"{file.stem}.webp", lossless=True
        )
    return folder
