"""Plans of every method, family and card: within the card by their own forecast, and at peace with their own check."""

from __future__ import annotations

import itertools
import re
from pathlib import Path
from typing import Any

import pytest

from engine.cost.estimate import estimate
from engine.dataset.report import Counts, DatasetReport, Item
from engine.models.bases import BaseInfo
from engine.models.specs import FAMILIES
from engine.plan.files import to_dict
from engine.plan.methods import METHODS
from engine.plan.problems import Problem
from engine.plan.schema import Plan
from engine.plan.units import size_text
from engine.planning.build import Built, Facts, build
from engine.planning.builder import flatten
from engine.planning.check import check
from engine.planning.ladder import LADDER
from engine.planning.presets import preset, recipes
from tests.support.plans import GIB, card

CARDS = (8, 12, 16, 24, 48, 80)
SIDES = {"sd1": 512, "sd2": 768, "sdxl": 1024}
EVERY = [*itertools.product(METHODS, SIDES, CARDS)]


@pytest.fixture(autouse=True)
def _large_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.cost.disk.disk_free", lambda path: 1 << 60)


def report_of(count: int, side: int) -> DatasetReport:
    """So many pictures in two buckets; 40 of them have entries of their own, which is enough for captions."""
    sizes = ((side, side), (side + 64, side - 64))
    items = tuple(
        Item(Path("/p"), f"{at}.png", *sizes[at % 2], f"zqx, thing {at}", f"{at}.txt", sizes[at % 2])
        for at in range(min(count, 40))
    )
    counts = {size: count // 2 + (count % 2) * (size == sizes[0]) for size in sizes}
    found = Counts(files=count, images=count, captioned=count)
    return DatasetReport("/p", side, "zqx", True, False, items, (), found, counts, (side, side), (), "words")


def facts_of(family: str, gigabytes: float, count: int = 40) -> Facts:
    side = SIDES[family]
    base = BaseInfo("owner/model", "hub", None, family, "", "epsilon", "base", "fp16", side, False, ())
    here = card(gigabytes)
    return Facts(report_of(count, side), base, here.gpus[0].gigabytes, here.gpus, here)


def built(method: str, facts: Facts, **more: object) -> Built:
    answers: dict[str, object] = {"method": method, "base.model": "owner/model", "data.path": "/p"}
    return build(answers | {"data.trigger": "zqx"} | more, facts)


def forecast(plan: Plan, facts: Facts, **changes: object) -> int:
    changed = plan.model_copy(update={"hardware": plan.hardware.model_copy(update=changes)})
    return estimate(changed, facts.base, facts.report, facts.machine).vram_total


def problems_of(plan: Plan, facts: Facts) -> list[Problem]:
    return check(plan, report=facts.report, base=facts.base, here=facts.machine, pair=lambda *_: None)


def is_memory(problem: Problem) -> bool:
    return "are needed, and cuda" in problem.what


@pytest.mark.parametrize("method", METHODS)
def test_no_plan_is_above_its_card_unsaid_and_no_figure_is_false(method: str) -> None:
    for family, gigabytes in itertools.product(SIDES, CARDS):
        facts = facts_of(family, gigabytes)
        made = built(method, facts)
        why = next(item.why for item in made.derived if item.key == "hardware.gradient_checkpointing")
        without = forecast(made.plan, facts, gradient_checkpointing=False)
        assert f"about {size_text(without)} without it" in why, (family, gigabytes)
        assert made.plan.hardware.gradient_checkpointing == (without > 0.9 * gigabytes * GIB)
        said = [problem for problem in problems_of(made.plan, facts) if is_memory(problem)]
        assert bool(said) == (forecast(made.plan, facts) > gigabytes * GIB), (family, gigabytes)
        for problem in said:
            assert re.search(r"set \w+\.|train a |use a card with ", problem.fix)
            assert "GiB" in problem.fix


@pytest.mark.parametrize("method", [name for name, spec in METHODS.items() if spec.lighter])
@pytest.mark.parametrize("family", SIDES)
def test_where_a_model_does_not_fit_its_lighter_method_is_offered_with_its_figure(
    method: str, family: str
) -> None:
    lighter = METHODS[method].lighter
    for gigabytes in CARDS:
        facts = facts_of(family, gigabytes)
        cost = forecast(built(lighter, facts).plan, facts)
        for problem in filter(is_memory, problems_of(built(method, facts).plan, facts)):
            assert size_text(cost) in problem.fix and METHODS[lighter].title in problem.fix
            fits = cost <= gigabytes * GIB
            assert (f"--method {lighter}" in problem.fix) == fits, (gigabytes, problem.fix)
            assert ("is over it too" in problem.fix) == (not fits)


def test_a_source_that_speaks_of_the_fit_is_true() -> None:
    spoken = 0
    for recipe in recipes():
        for size in recipe["card"]:
            if "made to fit" not in size["source"]:
                continue
            made = built(recipe["method"], facts_of(recipe["family"], size["vram_gb"]))
            names = {rung.name for rung in LADDER}
            saved = made.plan.hardware.gradient_checkpointing
            assert saved or any(item.why.partition(" (about")[0] in names for item in made.derived)
            spoken += 1
    assert spoken > 10


def set_of(fix: str) -> dict[str, Any]:
    """What the first way of a fix sets."""
    pairs = re.findall(r'(\w+\.\w+) = ("?)(\w+)\2', fix.split(" (about")[0])
    return {key: value if quoted else {"true": True}.get(value) or int(value) for key, quoted, value in pairs}


@pytest.mark.parametrize(("method", "family", "gigabytes"), EVERY)
def test_a_fix_is_right(method: str, family: str, gigabytes: int) -> None:
    facts = facts_of(family, gigabytes)
    plan = built(method, facts).plan
    found = [item for item in problems_of(plan, facts) if is_memory(item)]
    if not found or not found[0].fix.startswith("set "):
        return
    values: dict[str, Any] = flatten(to_dict(plan))
    for way in map(set_of, found[0].fix.split("; or ")):
        assert not [key for key, value in way.items() if values[key] == value], (
            "what is so already is not asked for"
        )
        size, pieces = (
            {**values, **way}[f"train.{name}"] for name in ("batch_size", "gradient_accumulation")
        )
        assert size * pieces == plan.train.batch_size * plan.train.gradient_accumulation
    mended = built(method, facts, **set_of(found[0].fix))
    assert not [item for item in problems_of(mended.plan, facts) if is_memory(item)]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("count", [4, 15, 40, 1000, 50_000])
def test_no_preset_warns_against_itself(method: str, count: int) -> None:
    for family, gigabytes in itertools.product(SIDES, (12, 80)):
        facts = facts_of(family, gigabytes, count)
        made = built(method, facts)
        derived = {item.key for item in made.derived}
        against = [item for item in problems_of(made.plan, facts) if item.key in derived]
        assert [item.text() for item in against if not is_memory(item)] == [], (family, gigabytes)


@pytest.mark.parametrize(
    ("method", "family", "rate", "word"),
    [
        ("full", "sdxl", 4e-7, ""),
        ("full", "sdxl", 1e-6, ""),
        ("full", "sdxl", 1e-4, "high"),
        ("full", "sd1", 5e-6, ""),
        ("full", "sd1", 1e-4, "high"),
        ("full", "sd2", 1e-9, "low"),
        ("hypernetwork", "sd1", 5e-7, ""),
        ("hypernetwork", "sdxl", 1e-5, ""),
        ("hypernetwork", "sd1", 1e-3, "high"),
        ("dreambooth", "sd1", 5e-7, ""),
        ("dreambooth", "sdxl", 5e-7, ""),
        ("dreambooth", "sd1", 1e-4, "high"),
        ("lora", "sd1", 1e-2, "high"),
        ("lora", "sdxl", 1e-2, "high"),
        ("lora", "sdxl", 1e-3, ""),
        ("lora", "sd1", 4e-7, "low"),
        ("style_lora", "sdxl", 1e-2, "high"),
        ("textual_inversion", "sd1", 5e-3, ""),
        ("textual_inversion", "sd1", 1e-6, "low"),
        ("textual_inversion", "sdxl", 1e-1, "high"),
        ("controlnet", "sd1", 2e-6, ""),
        ("controlnet", "sdxl", 1e-3, "high"),
        ("t2i_adapter", "sd1", 1e-3, "high"),
        ("scratch", "sd1", 1e-6, "low"),
    ],
)
def test_a_learning_rate_is_judged_by_its_methods_recipes(
    method: str, family: str, rate: float, word: str
) -> None:
    facts = facts_of(family, 80)
    plan = built(method, facts, **{"train.learning_rate": rate}).plan
    found = [item for item in problems_of(plan, facts) if item.key == "train.learning_rate"]
    assert [item.level for item in found] == (["warning"] if word else [])
    if word:
        assert f"very {word} for {METHODS[method].title}" in found[0].what
        own = preset(method, family, False, 80).values["train.learning_rate"]
        assert f"set {own:g} " in found[0].fix


@pytest.mark.parametrize("method", METHODS)
def test_every_recipe_lies_within_its_own_range(method: str) -> None:
    for family, tiny in itertools.product(FAMILIES, (False, True)):
        found = preset(method, family, tiny, None if tiny else 24)
        rate = found.values["train.learning_rate"]
        assert isinstance(rate, float) and found.lowest_rate <= rate <= found.highest_rate
        assert found.rates_source


def test_more_pictures_than_the_usual_steps_show_are_all_seen() -> None:
    facts = facts_of("sdxl", 12, 50_000)
    train = built("lora", facts).plan.train
    assert train.steps * train.batch_size * train.gradient_accumulation >= 50_000


def test_a_length_of_the_users_own_is_judged_as_before() -> None:
    facts = facts_of("sd1", 24, 40)
    for method in ("lora", "hypernetwork"):
        plan = built(method, facts, **{"train.steps": 200_000}).plan
        found = [item for item in problems_of(plan, facts) if item.key == "train.steps"]
        assert len(found) == 1 and "is seen" in found[0].what
    few = built("controlnet", facts_of("sd1", 24, 50_000), **{"train.steps": 100}).plan
    found = problems_of(few, facts_of("sd1", 24, 50_000))
    assert [item.key for item in found if "even once" in item.what] == ["train.steps"]
