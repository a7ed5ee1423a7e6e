"""How large the parts of a plan's base are, what of it trains, and what an optimiser keeps of that."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache
from math import prod
from typing import Any

from engine.cost.counts import family_of, part_config, part_parameters, scaled_parameters
from engine.models.bases import BaseInfo
from engine.models.layers import Layer, text_layers
from engine.models.specs import FAMILIES
from engine.plan.methods.context import BaseShape
from engine.plan.optimizers import OPTIMIZERS
from engine.plan.schema import Plan


class ModelSize:
    """Parameter counts and layer tables of the plan's base, from its files where they can be read."""

    def __init__(self, plan: Plan, base: BaseInfo | None) -> None:
        self._base = base
        family = family_of(base, plan.base.family)
        self.parameters = part_parameters(base, family)
        spec = FAMILIES[family]
        config = part_config(base, family, spec.denoiser)
        options = plan.options
        fresh = options.denoiser_config(config)
        self.base_layers = layers_of(family, config)
        self.denoiser = layers_of(family, fresh)
        before = self.parameters[spec.denoiser]
        self.parameters[spec.denoiser] = scaled_parameters(spec, config, fresh, before)
        encoders = [text_layers_of(part_config(base, family, part)) for part in spec.text_parts]
        self.text = tuple(layer for layers in encoders for layer in layers)
        self.whole = options.whole_parts(spec)
        width = sum(layers[0].outputs for layers in encoders)
        shape = BaseShape(family, fresh, self.denoiser, self.text, width)
        self.trainable = sum(self.parameters[part] for part in self.whole) or options.trained_parameters(
            shape, plan.data.trigger
        )
        shapes = options.trained_shapes(shape) or tuple(layer.shape for layer in self.denoiser)
        self.states = round(self.trainable * state_share(plan.optimizer.name, shapes))
        texts = [part for part in spec.text_parts if part not in self.whole]
        self.text_parameters = sum(self.parameters[part] for part in texts)
        self.spec = spec
        self.frozen = 0 if self.whole else self.parameters[spec.denoiser]
        # What a caption's embedding is wide.
        self.text_width = width

    def of(self, plan: Plan) -> ModelSize:
        """The same base in another plan."""
        return ModelSize(plan, self._base)

    @property
    def trains_much(self) -> bool:
        """Does a tenth of the denoiser or more train, so that the format of its weights and its gradients matter?"""
        return 10 * self.trainable >= self.parameters[self.spec.denoiser]


def layers_of(family: str, config: Mapping[str, Any]) -> tuple[Layer, ...]:
    """The layers of a denoiser of this config; the same objects for the same config, as there are hundreds."""
    return _layers(family, json.dumps(dict(config), sort_keys=True))


def text_layers_of(config: Mapping[str, Any]) -> tuple[Layer, ...]:
    """The layers of a text encoder of this config, likewise."""
    return _text_layers(json.dumps(dict(config), sort_keys=True))


@lru_cache(maxsize=64)
def _layers(family: str, config: str) -> tuple[Layer, ...]:
    return tuple(FAMILIES[family].layers(json.loads(config)))


@lru_cache(maxsize=64)
def _text_layers(config: str) -> tuple[Layer, ...]:
    return tuple(text_layers(json.loads(config)))


@lru_cache(maxsize=64)
def state_share(optimizer: str, shapes: tuple[tuple[int, ...], ...]) -> float:
    """Bytes of the optimiser's state a trained number, where what trains has shapes like these."""
    state_bytes = OPTIMIZERS[optimizer].state_bytes
    return sum(state_bytes(shape) for shape in shapes) / sum(prod(shape) for shape in shapes)
