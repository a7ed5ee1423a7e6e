"""What tests look at in a schedule beyond its protocol."""

from __future__ import annotations

from torch import Tensor

from engine.families.base import ModelFamily
from engine.families.variance_preserving import VariancePreserving


def alphas_of(family: ModelFamily) -> Tensor:
    """The cumulated alphas [T] of a family whose schedule has them."""
    assert isinstance(family.schedule, VariancePreserving)
    return family.schedule.alphas_cumprod
