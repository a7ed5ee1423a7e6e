"""How many numbers train where a method trains whole parts of a model, without torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from engine.models.layers import unet_layers
from engine.models.specs import FAMILIES
from engine.models.widths import problem_of, widths_of, with_widths
from engine.plan.methods.dreambooth import DreamboothOptions
from engine.plan.methods.full import FullOptions
from engine.plan.methods.scratch import ScratchOptions
from engine.plan.schema import Plan


def whole_parts(plan: Plan, family: str) -> tuple[str, ...]:
    """The parts of the base that train with all their weights; empty for methods that add to it."""
    options = plan.options
    if isinstance(options, FullOptions | DreamboothOptions):
        return ("unet", *(FAMILIES[family].text_parts if options.text_encoder else ()))
    return ("unet",) if isinstance(options, ScratchOptions) else ()


def fresh_config(plan: Plan, config: Mapping[str, Any]) -> Mapping[str, Any]:
    """The UNet config that is trained: the base's own, but for from-scratch training with other widths."""
    options = plan.options
    if not isinstance(options, ScratchOptions) or not config:
        return config
    if options.size == "own" and problem_of(config, options.widths):
        return config  # the check says what is wrong with them
    return with_widths(config, widths_of(config, options.size, options.widths))


def scaled_parameters(config: Mapping[str, Any], fresh: Mapping[str, Any], parameters: int) -> int:
    """The parameters of a UNet of the config `fresh`, where one of `config` has so many."""
    if fresh == config:
        return parameters
    before, after = _weights(config), _weights(fresh)
    return round(parameters * after / before)


def _weights(config: Mapping[str, Any]) -> int:
    return sum(layer.inputs * layer.outputs * layer.kernel**2 for layer in unet_layers(dict(config)))
