"""Checkpoints of a live run: written, told, pruned; a full disk makes the run wait and loses nothing."""

from __future__ import annotations

import time

from engine.files import is_disk_full
from engine.plan.optimizers import OPTIMIZERS
from engine.run.paths import RunDir
from engine.train import checkpoint
from engine.train.training import Training
from engine.worker.commands import Commands
from engine.worker.disk_full import free_bytes, wait_for_space
from engine.worker.telling import Telling


class Saver:
    """Writes this run's checkpoints. `saved_step` is the step of the newest one, -1 before the first."""

    def __init__(
        self,
        run: RunDir,
        training: Training,
        telling: Telling,
        commands: Commands,
    ) -> None:
        self.run = run
        self.training = training
        self.telling = telling
        self.commands = commands
        self.saved_step = -1

    def save(self) -> bool:
        """Save unless this step is saved already; True when it was written now."""
        step = self.training.step
        if self.saved_step == step:
            return False
        self.telling.phase("saving", f"checkpoint at step {step}")
        began = time.monotonic()
        saved, size = self._written(step)
        self.saved_step = step
        self.telling.checkpoint(saved, size, time.monotonic() - began)
        checkpoint.prune(self.run.checkpoints, self.training.plan.checkpoints.keep)
        return True

    def _written(self, step: int) -> tuple[checkpoint.Saved, int]:
        """The checkpoint on disk; a full disk first costs all old ones but the newest, then waits for space."""
        folder, training = self.run.checkpoints, self.training
        items, state = training.loop.trainables, training.state()
        optimizer = OPTIMIZERS[training.plan.optimizer.name]
        waiting = False
        while True:
            try:
                done = checkpoint.save(
                    folder, step, items, training.loop.optimizer, state, training.averages()
                )
            except OSError as error:
                if not is_disk_full(error) or (waiting and self._leaving()):
                    raise
                checkpoint.prune(folder, 1)
                if not waiting:
                    self._say_full(checkpoint.size_of(items, optimizer))
                waiting = True
                wait_for_space(folder, checkpoint.size_of(items, optimizer), self._leaving)
                continue
            if waiting:
                self.telling.unpaused()
            return done

    def _say_full(self, needed: int) -> None:
        free = free_bytes(self.run.path)
        text = (
            f"the disk is full: a checkpoint needs about {needed:,} bytes, {free:,} are free; free some space"
        )
        self.telling.paused("disk-full", text)

    def _leaving(self) -> bool:
        return bool(self.commands.poll().stop)
