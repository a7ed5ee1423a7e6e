"""Checkpoints of a live run: written, told, pruned; a full disk makes the run wait and loses nothing."""

from __future__ import annotations

import time

import torch
from torch import Tensor

from engine.files import patiently
from engine.plan.optimizers import OPTIMIZERS
from engine.run.paths import RunDir
from engine.train import checkpoint
from engine.train.training import Training
from engine.worker.telling import Telling


class Saver:
    """Writes this run's checkpoints. `saved_step` is the step of the newest one, -1 before the first."""

    def __init__(self, run: RunDir, training: Training, telling: Telling) -> None:
        self.run = run
        self.training = training
        self.telling = telling
        self.saved_step = -1

    def save(self) -> bool:
        """Save unless this step is saved already; True when it was written now."""
        step = self.training.step
        if self.saved_step == step:
            return False
        self.telling.phase("saving", f"checkpoint at step {step}")
        began = time.monotonic()
        saved, size = patiently(self.run.checkpoints, self._size(), self._write)
        self.saved_step = step
        self.telling.checkpoint(saved, size, time.monotonic() - began)
        checkpoint.prune(self.run.checkpoints, self.training.plan.checkpoints.keep)
        return True

    def finite(self) -> bool:
        """Is every number that a checkpoint would hold one to go on with?"""
        loop = self.training.loop
        moments = (value for state in loop.optimizer.state.values() for value in state.values())
        tensors = [*loop.parameters, *(value for value in moments if isinstance(value, Tensor))]
        return all(bool(torch.isfinite(tensor).all()) for tensor in tensors)

    def _size(self) -> int:
        optimizer = OPTIMIZERS[self.training.plan.optimizer.name]
        return checkpoint.size_of(self.training.loop.trainables, optimizer)

    def _write(self) -> tuple[checkpoint.Saved, int]:
        training = self.training
        return checkpoint.save(
            self.run.checkpoints,
            training.step,
            training.loop.trainables,
            training.loop.optimizer,
            training.state(),
            training.averages(),
        )
