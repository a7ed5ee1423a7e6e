"""The forecast of weights in bf16 and of gradients that are freed in the backward pass."""

from __future__ import annotations

from pathlib import Path

from engine.cost.estimate import Estimate, estimate
from tests.support.plans import card, make_plan


def forecast(pictures: Path, **changes: object) -> Estimate:
    plan = make_plan(pictures, method="full", data__resolution=512, **changes)
    return estimate(plan, None, None, card(80))


def parts(pictures: Path, **changes: object) -> dict[str, int]:
    found = forecast(pictures, hardware__gradient_checkpointing=True, **changes).vram_parts
    return {name.split(" (")[0].split(" at the ")[0]: size for name, size in found}


def test_weights_in_bf16_take_half_and_no_copies(pictures: Path, home: Path) -> None:
    plain, half = parts(pictures), parts(pictures, train__weights="bf16")
    assert half["trained weights"] * 2 == plain["trained weights"]
    assert half["gradients"] * 2 == plain["gradients"]
    assert "copies of trained weights to compute with" not in half
    assert plain["AdamW states"] == half["AdamW states"]


def test_gradients_that_are_freed_are_not_there_at_the_peak(pictures: Path, home: Path) -> None:
    plain = parts(pictures)["gradients"]
    freed, grouped = (parts(pictures, hardware__fused_backward=name) for name in ("weights", "groups"))
    assert 20 * freed.get("gradients", 0) < 5 * grouped.get("gradients", 0) < 2 * plain


def test_freeing_gradients_never_takes_more(pictures: Path, home: Path) -> None:
    for checkpointing in (False, True):
        plain, grouped, freed = (
            forecast(
                pictures, hardware__gradient_checkpointing=checkpointing, hardware__fused_backward=name
            ).vram_total
            for name in ("off", "groups", "weights")
        )
        assert freed <= grouped <= plain
