"""How long a step waits for a checkpoint: for the copy of the state alone, beside one that is written at once."""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
from torch import nn

from benchmarks.figures import Figure, median, run_module
from engine.methods.base import Trainable
from engine.models.layers import targeted
from engine.models.published import published
from engine.models.specs import FAMILIES
from engine.train import checkpoint
from engine.train.snapshot import HostCopies, take

GOAL_MS = 50.0
ROUNDS = 9
RANK = 16
MODELS = {"sd1": "SD 1.5", "sdxl": "SDXL"}


def lora(family: str) -> list[Trainable]:
    """The tensors of a LoRA of rank 16 on the attention layers of a family's UNet, in fp32."""
    spec = FAMILIES[family]
    made = []
    for layer in targeted(spec.layers(published(family, "unet")), "attention"):
        for name, shape in (("down", (RANK, layer.inputs)), ("up", (layer.outputs, RANK))):
            made.append(Trainable(f"{layer.path}.{name}", nn.Parameter(torch.randn(shape)), "unet"))
    return made


def optimizer_of(trainables: Sequence[Trainable]) -> torch.optim.Optimizer:
    """AdamW that has taken its first step."""
    values = [item.parameter for item in trainables]
    for value in values:
        value.grad = torch.randn_like(value)
    optimizer = torch.optim.AdamW(values, fused=True)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return optimizer


def stalls(family: str, rounds: int, folder: Path) -> tuple[list[float], list[float], int]:
    """Milliseconds that each save took from the training, copied and written at once by turns, and a save's bytes."""
    trainables = lora(family)
    optimizer = optimizer_of(trainables)
    copies, state = HostCopies(torch.device("cpu")), {"step": 0}
    copied: list[float] = []
    at_once: list[float] = []
    size = 0
    with ThreadPoolExecutor(1) as thread:
        for number in range(1, rounds + 1):
            began = time.perf_counter()
            copies.begin()
            snapshot = take(number, trainables, optimizer, state, None, copies)
            written: Future[Any] = thread.submit(checkpoint.write, folder / "copied", snapshot)
            copied.append(1000 * (time.perf_counter() - began))
            written.result()
            checkpoint.prune(folder / "copied", 1)
            began = time.perf_counter()
            saved, size = checkpoint.save(folder / "at-once", number, trainables, optimizer, state)
            at_once.append(1000 * (time.perf_counter() - began))
            checkpoint.prune(folder / "at-once", 1, saved.path)
    return copied, at_once, size


def measure(quick: bool = False) -> list[Figure]:
    """All figures."""
    torch.set_num_threads(1)
    figures = []
    for family, title in MODELS.items():
        with tempfile.TemporaryDirectory(prefix="sdtrain-bench-") as folder:
            copied, at_once, size = stalls(family, 2 if quick else ROUNDS, Path(folder))
        what, key = f"stall of a save, {title} LoRA", f"saving.{family}"
        note = f"rank {RANK} on attention, {size / 1e6:.0f} MB with AdamW's moments, {len(copied)} rounds by turns, CPU"
        later = median(copied[1:])
        figures += [
            Figure(f"{key}.stall", what, later, "ms", GOAL_MS, note=note),
            Figure(f"{key}.first", f"{what}: the first, which gets the memory", copied[0], "ms"),
            Figure(f"{key}.at_once", f"{what}: written at once", median(at_once), "ms"),
            Figure(f"{key}.ratio", f"{what} / written at once", later / median(at_once[1:]), "x"),
        ]
    return figures


if __name__ == "__main__":
    sys.exit(run_module(measure, __doc__ or ""))
