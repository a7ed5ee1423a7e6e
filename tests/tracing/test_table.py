"""The traces that come with the program: complete, and those of the code that is here."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from engine.cost.model_size import ModelSize
from engine.cost.quantity import Scale
from engine.cost.traced_plan import TracedPlan, Traits
from engine.cost.traced_rows import find, read_table, traits_for
from engine.tracing.table import MODELS, VARIANTS, base_of, kinds, plan_of
from engine.tracing.trace import trace

SAMPLE = random.Random(20261126).sample(range(100), 4)


@pytest.mark.parametrize("model", MODELS)
def test_a_table_has_every_row_and_no_other(model: str) -> None:
    base = base_of(model)
    wanted = {traits_for(plan, ModelSize(plan, base), half).key for plan, half in kinds(model)}
    assert set(read_table(model)) == wanted


@pytest.mark.parametrize("model", ["tiny", pytest.param("sd1", marks=pytest.mark.soak),
                                   pytest.param("sd2", marks=pytest.mark.soak),
                                   pytest.param("sdxl", marks=pytest.mark.soak)])  # fmt: skip
@pytest.mark.parametrize("place", SAMPLE)
def test_a_row_is_what_a_trace_says_now(model: str, place: int) -> None:
    """Where this fails after a change of a method, a family or a library: `python -m engine.tracing.table`."""
    every = list(kinds(model))
    plan, half = every[place % len(every)]
    base = base_of(model)
    found = find(plan, ModelSize(plan, base), half)
    assert found.source == "table"
    assert TracedPlan.from_json(trace(plan, base, MODELS[model][1], half).to_json()) == found.traced


@pytest.mark.parametrize("method", VARIANTS)
def test_every_method_can_be_traced(method: str) -> None:
    """On tensors without numbers, which whoever adds something to a method does not have before their eyes."""
    plan = plan_of(method, VARIANTS[method][0], "tiny", False)
    found = TracedPlan.from_json(trace(plan, base_of("tiny"), "sd1", True).to_json())
    assert found.step.flops.at(Scale(1, 64.0, 1)) > 0


def test_a_key_tells_its_traits_again() -> None:
    for model in MODELS:
        for key in read_table(model):
            assert Traits.of(key).key == key


@pytest.mark.soak
@pytest.mark.parametrize("method", VARIANTS)
def test_fields_that_are_said_to_have_no_size_change_next_to_nothing(method: str) -> None:
    plan = plan_of(method, VARIANTS[method][0], "tiny", False)
    changes = {
        name: _other(getattr(plan.options, name))
        for name in plan.options.sizeless_fields
        # Three channels of a condition picture for one: a thousandth of the net's first maps.
        if name not in plan.options.path_fields and name != "channels"
    }
    changed = plan.model_copy(update={method: plan.options.model_copy(update=changes)})
    base = base_of("tiny")
    again = TracedPlan.from_json(trace(changed, base, "sd1", True).to_json())
    usual = find(plan, ModelSize(plan, base), True).traced
    # One more vector of a word is a row of a few hundred numbers.
    scale = Scale(2, 64.0, 4)
    one, other = (sum(traced.step.peak(scale)[1].values()) for traced in (again, usual))
    assert one == pytest.approx(other, rel=1e-3)
    assert again.step.flops.at(scale) == pytest.approx(usual.step.flops.at(scale), rel=1e-3)


def _other(value: object) -> object:
    """Another value of the same kind; what is text stays, as the others of a choice are not known here."""
    if isinstance(value, bool):
        return not value
    return value / 2 if isinstance(value, float) else value + 1 if isinstance(value, int) else value


def test_what_no_table_has_is_scaled_from_the_likest_row() -> None:
    plan = plan_of("lora", {"kind": "lokr", "rank": 7}, "sd1", False)
    model = ModelSize(plan, None)
    found, alike = find(plan, model, True), find(plan_of("lora", {"kind": "lokr"}, "sd1", False), model, True)
    assert (found.source, alike.source) == ("likest", "table")
    assert found.traced.step.flops == alike.traced.step.flops
    other = replace(traits_for(plan, model, True), method="no such method")
    assert all(other.likeness(Traits.of(key))[0] == 0 for key in read_table("sd1"))
