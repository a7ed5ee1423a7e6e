"""The ladder: cheap rungs first, dear ones only where they are needed, and nothing that the answers have fixed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from engine.plan.schema import Plan
from engine.planning.ladder import CHEAP, LADDER, closed_to, fit, told
from tests.planning.test_fitting import built, facts_of, forecast
from tests.support.plans import GIB, make_plan
from tests.support.plans import card as card_of

# Bytes that each value of a plan saves, in a made-up world where all of them save something.
SAVES: dict[str, int] = {
    "vae_tiling=decode": 8,
    "gradient_checkpointing=True": 16,
    "base_weights=int8": 32,
    "base_weights=nf4": 40,
    "offload_activations=True": 5,
}


def cost(plan: Plan) -> int:
    values = plan.hardware.model_dump()
    saved = sum(SAVES.get(f"{name}={value}", 0) for name, value in values.items())
    return 100 - saved + plan.train.batch_size


@pytest.mark.parametrize(
    ("card", "names"),
    [
        (104, []),
        (96, ["tiled decoding"]),
        (88, ["gradient checkpointing"]),
        (80, ["tiled decoding", "gradient checkpointing"]),
        (78, ["tiled decoding", "gradient checkpointing", "fewer pictures at once"]),
        (49, ["tiled decoding", "gradient checkpointing", "quantised base"]),
        (46, ["tiled decoding", "gradient checkpointing", "fewer pictures at once", "quantised base"]),
        (39, ["tiled decoding", "gradient checkpointing", "fewer pictures at once", "quantised base"]),
    ],
)
def test_the_least_that_fits_is_taken(card: int, names: list[str], pictures: Path) -> None:
    plan = make_plan(pictures, train__batch_size=4, data__resolution=512)
    found = fit(plan, cost, card)
    ours = [choice.rung.name for choice in found.choices]
    assert found.cost == cost(found.plan) == (found.choices[-1].cost if found.choices else 104)
    assert found.cost <= card
    assert ours == names
    train = found.plan.train
    assert train.batch_size * train.gradient_accumulation == 4


def test_what_the_answers_fix_stays(pictures: Path) -> None:
    plan = make_plan(pictures, train__batch_size=4)
    keys = frozenset({"train.batch_size", "hardware.base_weights"})
    found = fit(plan, cost, 1, keys)
    assert found.plan.train.batch_size == 4 and found.plan.hardware.base_weights == "full"
    assert found.cost > 1


@pytest.mark.parametrize(("capability", "closed"), [((7, 5), True), ((8, 0), False), ((0, 0), False)])
def test_a_card_that_emulates_bf16_gets_no_weights_in_it(
    capability: tuple[int, int], closed: bool, pictures: Path
) -> None:
    gpu = card_of(16, capability).gpus[0]
    assert ("train.weights" in closed_to(gpu)) == closed
    plan = make_plan(pictures, method="full", train__learning_rate=1e-5)
    found = fit(plan, lambda plan: 100 - 50 * (plan.train.weights == "bf16"), 60, closed_to(gpu))
    assert (found.plan.train.weights == "bf16") == (not closed)


def test_every_rung_has_a_name_and_a_price_of_its_own() -> None:
    assert len({rung.name for rung in LADDER}) == len({rung.price for rung in LADDER}) == len(LADDER)
    assert all(rung.exact for rung in CHEAP)


@pytest.mark.parametrize(
    ("method", "family", "card", "most"),
    [
        ("lora", "sdxl", 8, 8),
        ("style_lora", "sdxl", 8, 8),
        ("dreambooth", "sd1", 12, 12),
        ("controlnet", "sdxl", 24, 24),
    ],
)
def test_what_people_have_is_enough(method: str, family: str, card: int, most: int) -> None:
    facts = facts_of(family, card)
    made = built(method, facts)
    assert forecast(made.plan, facts) <= most * GIB
    for item in made.derived:
        if item.key == "hardware.vae_tiling":
            assert "tiled decoding (about" in item.why and "previews" in item.why
    choices = told(made.derived)
    assert len(choices) == len(set(choices)) and all(" on a card of " in text for text in choices)
    assert {item.why for item in made.derived if item.key == "hardware.vae_tiling"} <= set(choices)


def test_fit_off_leaves_the_presets_alone() -> None:
    facts = facts_of("sdxl", 8)
    made = built("lora", facts, **{"hardware.fit": "off"})
    assert made.plan.hardware.vae_tiling == "auto" and made.plan.hardware.base_weights == "full"
    assert forecast(made.plan, facts) > 8 * GIB


def test_without_the_extra_no_rung_asks_for_its_package(
    pictures: Path, assume_extras: Callable[[bool], None]
) -> None:
    plan = make_plan(pictures, train__batch_size=1)
    steps = [changes for rung in LADDER for changes in rung.steps(plan)]
    assert {"optimizer.name": "adamw8bit"} in steps and {"hardware.base_weights": "nf4"} in steps
    assume_extras(False)
    steps = [changes for rung in LADDER for changes in rung.steps(plan)]
    assert {"optimizer.name": "adamw8bit"} not in steps and {"hardware.base_weights": "nf4"} not in steps
    assert {"hardware.base_weights": "int8"} in steps and {"optimizer.name": "adafactor"} in steps
