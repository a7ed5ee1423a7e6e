"""The model as previews and validations use it: no dropout, no gradients, the run's number format."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from engine.train.setup import AdaptedModel


@contextmanager
def evaluating(adapted: AdaptedModel) -> Iterator[None]:
    """Inside, the model only answers. The gradients of the last update leave: nothing needs them any more."""
    for item in adapted.trainables:
        item.parameter.grad = None
    own = adapted.method.modules().values()
    modules = [part for part in (*adapted.family.parts.values(), *own) if part.training]
    for module in modules:
        module.eval()
    autocast = torch.autocast(
        adapted.device.type, dtype=adapted.autocast, enabled=adapted.autocast is not None
    )
    try:
        with torch.no_grad(), autocast:
            yield
    finally:
        for module in modules:
            module.train()
