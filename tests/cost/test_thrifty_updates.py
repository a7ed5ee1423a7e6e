"""The forecast of weights in bf16 and of gradients that are freed in the backward pass."""

from __future__ import annotations

from pathlib import Path

from engine.cost.estimate import estimate
from tests.support.plans import card, make_plan


def test_weights_in_bf16_and_freed_gradients_take_less(pictures: Path, home: Path) -> None:
    def parts(**changes: object) -> dict[str, int]:
        plan = make_plan(pictures, method="full", data__resolution=512, **changes)
        return {name.split(" (")[0]: size for name, size in estimate(plan, None, None, card(80)).vram_parts}

    plain, half = parts(), parts(train__weights="bf16")
    assert half["trained weights"] * 2 == plain["trained weights"]
    assert half["gradients"] * 2 == plain["gradients"]
    assert "copies to compute with" in plain and "copies to compute with" not in half
    assert plain["AdamW states"] == half["AdamW states"]
    freed, grouped = (parts(hardware__fused_backward=name) for name in ("weights", "groups"))
    assert 20 * freed["gradients"] < 5 * grouped["gradients"] < 2 * plain["gradients"]
