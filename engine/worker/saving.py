"""Checkpoints of a live run: copied, written beside the training, told, pruned; a full disk makes the run wait and
loses nothing."""

from __future__ import annotations

import contextlib
import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import psutil
import torch
from torch import Tensor

from engine.files import finished, patiently
from engine.plan.optimizers import OPTIMIZERS
from engine.run.paths import RunDir
from engine.train import checkpoint
from engine.train.checkpoint import Saved
from engine.train.snapshot import HostCopies, Snapshot, take
from engine.train.training import Training
from engine.worker.disk_full import free_bytes
from engine.worker.telling import Telling

COPY_SHARE = 0.5
"""The most of the main memory that is free that a copy of the state may take."""


@dataclass(frozen=True)
class _Begun:
    """A checkpoint that the thread writes; `stalled` is how long the training stood still, in seconds."""

    snapshot: Snapshot
    written: Future[tuple[Saved, int]]
    since: float
    stalled: float


class Saver:
    """Writes this run's checkpoints. `saved_step` is the step of the newest one on the disk, -1 before the first.

    `begin` copies the state and lets a thread write it; whoever trains asks `look` now and then. Whatever went wrong in
    the thread is raised where its result is asked for, and that is where a full disk is waited for.
    """

    def __init__(self, run: RunDir, training: Training, telling: Telling) -> None:
        self.run = run
        self.training = training
        self.telling = telling
        self.saved_step = -1
        self._copies = HostCopies(training.adapted.device)
        # One thread: what it is asked for happens in that order.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="saving")
        self._begun: _Begun | None = None
        self._pruned: Future[object] | None = None

    def begin(self) -> bool:
        """Copy the state of this step and begin to write it, unless it is saved already; True if that was done.

        One checkpoint is written at a time: the one before is waited for. Where main memory has no room for the copy,
        or the disk perhaps none for the checkpoint, it is written at once.
        """
        step, began = self.training.step, time.monotonic()
        if self._has(step):
            return False
        self.telling.phase("saving", f"checkpoint at step {step}")
        self._finish_begun()
        if not self._fits():
            return self._write()
        self._copies.begin()
        snapshot = self._snapshot(self._copies)
        written = self._thread.submit(checkpoint.write, self.run.checkpoints, snapshot)
        self._begun = _Begun(snapshot, written, began, time.monotonic() - began)
        return True

    def save(self) -> bool:
        """A checkpoint of this step on the disk, older ones pruned; True unless it was saved or begun already."""
        step = self.training.step
        new = not self._has(step)
        if new or self._begun is not None:
            self.telling.phase("saving", f"checkpoint at step {step}")
        self.finish()
        if new:
            self._write()
            self.finish()
        return new

    def look(self) -> None:
        """Tell of a checkpoint that the thread has written meanwhile; waits for nothing."""
        if self._begun is not None and self._begun.written.done():
            self._finish_begun()

    def finish(self) -> None:
        """Wait until the thread has written and pruned all that it was asked for."""
        self._finish_begun()
        if self._pruned is not None:
            self._pruned.result()
            self._pruned = None

    def give_up(self) -> None:
        """Wait for the thread; what it could not write is not tried again."""
        with contextlib.suppress(Exception):
            if self._begun is not None:
                self._begun.written.result()
                self._finish_begun()
        self._begun = None

    def finite(self) -> bool:
        """Is every number that a checkpoint would hold one to go on with?"""
        loop = self.training.loop
        moments = (value for state in loop.optimizer.state.values() for value in state.values())
        tensors = [*loop.parameters, *(value for value in moments if isinstance(value, Tensor))]
        return all(bool(torch.isfinite(tensor).all()) for tensor in tensors)

    def _has(self, step: int) -> bool:
        return step == self.saved_step or (self._begun is not None and step == self._begun.snapshot.step)

    def _finish_begun(self) -> None:
        begun, self._begun = self._begun, None
        if begun is None:
            return
        folder = self.run.checkpoints
        saved, size = finished(
            begun.written, folder, self._size(), lambda: checkpoint.write(folder, begun.snapshot)
        )
        self._copies.shrink()
        self._tell(saved, size, begun.since, begun.stalled)

    def _write(self) -> bool:
        """This step's checkpoint, written at once from the run's own tensors."""
        began = time.monotonic()
        folder, snapshot = self.run.checkpoints, self._snapshot(None)
        saved, size = patiently(folder, self._size(), lambda: checkpoint.write(folder, snapshot))
        self._tell(saved, size, began, time.monotonic() - began)
        return True

    def _tell(self, saved: Saved, size: int, since: float, stalled: float) -> None:
        self.saved_step = saved.step
        self.telling.checkpoint(saved, size, time.monotonic() - since, stalled)
        self._pruned = self._thread.submit(self._prune, saved.path, self._kept())

    def prune(self, whole: Path) -> None:
        """Remove what need not be kept; `whole` is the newest checkpoint, which was verified."""
        self._prune(whole, self._kept())

    def _prune(self, whole: Path, also: frozenset[int]) -> None:
        checkpoint.prune(self.run.checkpoints, self.training.plan.checkpoints.keep, whole, also)

    def _kept(self) -> frozenset[int]:
        return self.training.history.kept(self.training.plan)

    def _snapshot(self, copies: HostCopies | None) -> Snapshot:
        training = self.training
        trainables, optimizer = training.loop.trainables, training.loop.optimizer
        return take(training.step, trainables, optimizer, training.state(), training.averages(), copies)

    def _fits(self) -> bool:
        # A thread that fills a disk to the brim would take the last bytes from events and commands.
        if free_bytes(self.run.checkpoints) < self._size():
            return False
        more = self._size() - self._copies.held
        return more <= COPY_SHARE * psutil.virtual_memory().available

    def _size(self) -> int:
        optimizer = OPTIMIZERS[self.training.plan.optimizer.name]
        return checkpoint.size_of(self.training.loop.trainables, optimizer)
