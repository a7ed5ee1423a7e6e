"""What a run does about memory that runs out once its batches are single pictures, with the same result."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext

import torch

from engine.train.offload import Offload

Measure = tuple[str, Callable[[], None]]
"""What is done from then on, in words, and what does it."""


class Sparing:
    """Takes one measure after the other, the cheapest first. `offload` is where the backward pass's needs are kept."""

    def __init__(self, measures: Iterator[Measure] | None = None, offload: Offload | None = None) -> None:
        self._measures = iter(()) if measures is None else measures
        self._offload = offload
        self.taken = 0
        """How many measures were taken."""

    def saving(self) -> AbstractContextManager[None]:
        """Around a forward pass."""
        return nullcontext() if self._offload is None else self._offload.saving()

    def spare(self) -> tuple[str, str] | None:
        """Take the next measure: a warning's code and text, or none where none is left."""
        for text, act in self._measures:
            act()
            self.taken += 1
            return "memory-saved", f"out of memory: {text} from here on; what is learned stays the same"
        return None

    def restore(self, taken: int) -> None:
        """Begin with so many measures, which an earlier attempt has taken."""
        while self.taken < taken and self.spare() is not None:
            pass


def free_cache(device: torch.device) -> None:
    """Give back what the allocator keeps for later."""
    if device.type == "cuda":
        torch.cuda.empty_cache()


def renewed(scaler: torch.amp.GradScaler, device: torch.device) -> torch.amp.GradScaler:
    """The scaler for another attempt: one that took gradients for an update which never came refuses the next."""
    if not scaler.is_enabled():
        return scaler
    fresh = torch.amp.GradScaler(device.type)
    fresh.load_state_dict(scaler.state_dict())
    return fresh
