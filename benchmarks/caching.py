"""Encoding a folder of photos: decoded by several threads beside the model, and one after the other."""

from __future__ import annotations

import shutil
import sys
import time
from pathlib import Path
from unittest.mock import patch

import numpy as np
import torch
from PIL import Image

from benchmarks.figures import Figure, median, run_module
from benchmarks.workload import fresh_home, make_plan, write_model
from engine.dataset import cached_encoder
from engine.train.opening import open_training

ROUNDS = 5
PHOTOS = 16
SIDES = (4000, 3000)
GOAL = 1.3


def write_photos(folder: Path, count: int) -> Path:
    """Photos of 12 megapixels with soft shapes, as JPEG."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    for index in range(count):
        coarse = Image.fromarray(rng.integers(0, 255, (30, 40, 3), dtype=np.uint8))
        coarse.resize(SIDES, Image.Resampling.BICUBIC).save(folder / f"{index:03d}.jpg", quality=92)
        (folder / f"{index:03d}.txt").write_text(f"photo {index}")
    return folder


def seconds(model: Path, photos: Path, cache: Path) -> float:
    """Wall time from a loaded model to a training whose photos are all encoded, less that with all cached."""
    plan = make_plan(model, photos)
    times = []
    for _ in range(2):
        began = time.perf_counter()
        open_training(plan, cache=cache).close()
        times.append(time.perf_counter() - began)
    shutil.rmtree(cache)
    return times[0] - times[1]


def measure(quick: bool = False) -> list[Figure]:
    """All figures; the ratio is the median of each round's own."""
    torch.set_num_threads(1)
    count = 3 if quick else PHOTOS
    threads: list[float] = []
    alone: list[float] = []
    with fresh_home() as home:
        model, photos = write_model(home / "model"), write_photos(home / "photos", count)
        for _ in range(1 if quick else ROUNDS):
            threads.append(seconds(model, photos, home / "cache"))
            with patch.multiple(cached_encoder, WORKERS=1, AHEAD=0):
                alone.append(seconds(model, photos, home / "cache"))
    ratio = median(one / other for one, other in zip(alone, threads, strict=True))
    note = f"{count} photos of 12 megapixels, tiny VAE at 64 px, 1 thread for torch; on as many cores as there are"
    return [
        Figure("caching.ratio", "encoding photos: one by one / decoded ahead", ratio, "x", GOAL, True, note),
        Figure("caching.photo", "encoding a photo, decoded ahead", 1000 * median(threads) / count, "ms"),
    ]


if __name__ == "__main__":
    sys.exit(run_module(measure, __doc__ or ""))
