"""Finds what was traced for a plan: in the tables that come with the program, among what was traced on this machine,
or the likest of them, scaled."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, lru_cache
from pathlib import Path
from typing import Any, Literal

from engine.cost.machine import Machine
from engine.cost.model_size import ModelSize, layers_of, text_layers_of
from engine.cost.numbers import computes_in_half
from engine.cost.traced_plan import FORMAT, TracedPlan, Traits, digest_of, traits_of
from engine.cost.traced_step import Moment
from engine.models.bases import ASSETS, BaseInfo, read_config
from engine.models.layers import Layer
from engine.models.specs import FAMILIES, USUAL
from engine.plan.schema import Plan
from engine.run.paths import cache_root
from engine.version import package_version

TABLES = ASSETS / "traced"
BUILTIN = "tiny"
"""The table of models that are no family's published one."""
PACKAGES = ("torch", "diffusers", "transformers", "peft")
"""Those whose code a step runs."""
AREA = 4096
"""Of the latents at which the sizes of two models are compared."""
Source = Literal["table", "traced here", "likest"]
Rows = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True)
class Found:
    """A trace and where it comes from."""

    traced: TracedPlan
    source: Source


def versions() -> dict[str, str]:
    """What a trace depends on beside the plan and the base."""
    return {name: package_version(name) for name in PACKAGES}


def model_word(model: ModelSize) -> str:
    """The family's name where the base has its published layers, else a digest of its own."""
    family = model.spec.name
    own = (model.base_layers, model.text)
    return family if own == published_layers(family) else digest_of(*own)


@cache
def published_layers(family: str) -> tuple[tuple[Layer, ...], tuple[Layer, ...]]:
    """The denoiser's and the text encoders' layers as the family publishes them."""
    spec = FAMILIES[family]
    folder = ASSETS / "families" / family
    encoders = [text_layers_of(read_config(folder / f"{part}.json")) for part in spec.text_parts]
    denoiser = layers_of(family, read_config(folder / f"{spec.denoiser}.json"))
    return denoiser, tuple(layer for layers in encoders for layer in layers)


def traits_for(plan: Plan, model: ModelSize, half: bool) -> Traits:
    """What the plan's trace is found by."""
    return traits_of(plan, model_word(model), half)


def find(plan: Plan, model: ModelSize, half: bool) -> Found:
    """The plan's trace; where there is none the likest one, scaled to the plan's model."""
    traits = traits_for(plan, model, half)
    table = traits.model if traits.model in FAMILIES else BUILTIN
    if traits.key in read_table(table):
        return Found(_row(table, traits.key), "table")
    here = _traced_here(traits)
    if here is not None:
        return Found(here, "traced here")
    family = model.spec.name if (TABLES / f"{model.spec.name}.json").exists() else USUAL
    return Found(_likest(plan, model, traits, family), "likest")


def is_traced(plan: Plan, base: BaseInfo | None, here: Machine) -> bool:
    """Is there a trace of the plan's own kind for this machine's format of numbers?"""
    return find(plan, ModelSize(plan, base), computes_in_half(plan, here)).source != "likest"


def kept_at(traits: Traits) -> Path:
    """The file of what was traced on this machine with the packages that it has now."""
    text = json.dumps([FORMAT, traits.key, versions()])
    return cache_root() / "traced" / f"{hashlib.sha256(text.encode()).hexdigest()[:32]}.json"


@lru_cache(maxsize=8)
def read_table(name: str) -> Rows:
    """Rows of a table by their keys."""
    data = json.loads((TABLES / f"{name}.json").read_text(encoding="utf-8"))
    rows: Rows = data["rows"]
    return rows


@lru_cache(maxsize=256)
def _row(table: str, key: str) -> TracedPlan:
    return TracedPlan.from_json(read_table(table)[key])


def _traced_here(traits: Traits) -> TracedPlan | None:
    try:
        return TracedPlan.from_json(json.loads(kept_at(traits).read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _likest(plan: Plan, model: ModelSize, traits: Traits, family: str) -> TracedPlan:
    wanted = replace(traits, model=family)
    whole = "full" if model.whole else "lora"
    known = [Traits.of(key) for key in read_table(family)]
    methods = {other.method for other in known}
    wanted = wanted if wanted.method in methods else replace(wanted, method=whole, options=())
    best = max(known, key=wanted.likeness)
    found = _row(family, best.key)
    config = read_config(ASSETS / "families" / family / f"{FAMILIES[family].denoiser}.json")
    fresh = plan.options.denoiser_config(config) if best.options == traits.options else config
    layers = _elements(model.denoiser) / _elements(FAMILIES[family].layers(fresh))
    rank = plan_rank(plan)
    trained = 4 * model.trainable / max(1.0, found.trained.at_rank(rank))
    return _scaled(found, layers, trained, 1.0 if best.half == traits.half else 0.5 if traits.half else 2.0)


def plan_rank(plan: Plan) -> float:
    """What the quantities of a trace that grow with the method's own width are asked for."""
    name = plan.options.width_field
    return float(getattr(plan.options, name)) if name else 1.0


def _elements(layers: Sequence[Layer]) -> float:
    return sum(layer.output_elements(AREA) for layer in layers)


def _scaled(found: TracedPlan, layers: float, trained: float, width: float) -> TracedPlan:
    """For a model whose layers give `layers` times as many numbers, of which `trained` times as many train, in numbers
    that are `width` times as wide."""

    scales = {"activations": layers * width, "copies": trained, "gradients": trained}
    step = replace(
        found.step,
        moments=[
            Moment(moment.phase, {kind: value.times(scales[kind]) for kind, value in moment.kinds.items()})
            for moment in found.step.moments
        ],
        flops=found.step.flops.times(layers**2),
        moved=found.step.moved.times(layers * width),
    )
    # The VAE is the family's own, whatever the denoiser.
    return replace(found, step=step, trained=found.trained.times(trained))
