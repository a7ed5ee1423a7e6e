"""How large the parts of a plan's base are, what of it trains, and what an optimiser keeps of that."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from engine.cost.counts import family_of, part_config, part_parameters, scaled_parameters
from engine.models.bases import BaseInfo
from engine.models.layers import Layer, text_layers
from engine.models.specs import FAMILIES
from engine.plan.methods.context import BaseShape
from engine.plan.optimizers import OPTIMIZERS, OptimizerSpec
from engine.plan.schema import Plan


class ModelSize:
    """Parameter counts and layer tables of the plan's base, from its files where they can be read."""

    def __init__(self, plan: Plan, base: BaseInfo | None) -> None:
        family = family_of(base, plan.base.family)
        self.parameters = part_parameters(base, family)
        spec = FAMILIES[family]
        config = part_config(base, family, spec.denoiser)
        options = plan.options
        fresh = options.denoiser_config(config)
        self.denoiser = spec.layers(fresh)
        before = self.parameters[spec.denoiser]
        self.parameters[spec.denoiser] = scaled_parameters(spec, config, fresh, before)
        encoders = [text_layers(part_config(base, family, part)) for part in spec.text_parts]
        self.text = [layer for layers in encoders for layer in layers]
        self.whole = options.whole_parts(spec)
        width = sum(layers[0].outputs for layers in encoders)
        shape = BaseShape(family, fresh, self.denoiser, self.text, width)
        self.trainable = sum(self.parameters[part] for part in self.whole) or options.trained_parameters(
            shape, plan.data.trigger
        )
        self.states = round(self.trainable * state_share(OPTIMIZERS[plan.optimizer.name], self.denoiser))
        self.changes = options.whole_changes(shape)
        texts = [part for part in spec.text_parts if part not in self.whole]
        self.text_parameters = sum(self.parameters[part] for part in texts)
        self.spec = spec
        self.frozen = 0 if self.whole else self.parameters[spec.denoiser]
        # What a caption's embedding is wide, and the sum over all layers of all encoders of their widths.
        self.text_width = width
        self.text_widths = sum(layers[0].outputs * (len(layers) // 6) for layers in encoders)

    @property
    def trains_much(self) -> bool:
        """Does a tenth of the denoiser or more train, so that the format of its weights and its gradients matter?"""
        return 10 * self.trainable >= self.parameters[self.spec.denoiser]


def state_share(optimizer: OptimizerSpec, layers: Sequence[Layer]) -> float:
    """Bytes of the optimiser's state a trained number, where what trains has shapes like these layers'."""
    shapes: list[tuple[int, ...]] = [
        (layer.outputs, layer.inputs, *((layer.kernel, layer.kernel) if layer.role == "conv" else ()))
        for layer in layers
    ]
    return sum(optimizer.state_bytes(shape) for shape in shapes) / sum(prod(shape) for shape in shapes)
