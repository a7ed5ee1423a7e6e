"""Hypernetwork: small residual MLPs on what every attention's keys and values are made of."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self, cast

import torch
from torch import Tensor, nn

from engine.draws import generator
from engine.errors import UserError
from engine.families.base import ModelFamily
from engine.methods.artifact import Artifact
from engine.methods.base import Method, Trainable, options_of
from engine.methods.condition_nets import read_weights
from engine.models.hypernetwork_file import read_hypernetwork
from engine.plan.methods.hypernetwork import HypernetworkOptions
from engine.plan.schema import Plan

ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "relu": nn.ReLU,
    "leakyrelu": nn.LeakyReLU,
    "elu": nn.ELU,
    "swish": nn.Hardswish,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
    "softsign": nn.Softsign,
    "mish": nn.Mish,
}
NORMAL_DEVIATION = 0.01
START = "hypernetwork.start"


class Residual(nn.Module):
    """x + linear(x), [b, tokens, width]; the layers are Linear, activation (not after the last), dropout."""

    def __init__(self, width: int, options: HypernetworkOptions) -> None:
        super().__init__()
        sizes = [int(width * factor) for factor in options.layer_structure]
        drops = options.dropout or [0.0] * len(sizes)
        layers: list[nn.Module] = []
        for index in range(len(sizes) - 1):
            layers.append(nn.Linear(sizes[index], sizes[index + 1]))
            if index < len(sizes) - 2 and options.activation != "linear":
                layers.append(ACTIVATIONS[options.activation]())
            if drops[index + 1] > 0:
                layers.append(nn.Dropout(drops[index + 1]))
        self.linear = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        changed: Tensor = x + self.linear(x)
        return changed

    def linears(self) -> list[nn.Linear]:
        """The layers that hold weights, in order."""
        return [layer for layer in self.linear if isinstance(layer, nn.Linear)]


class Hypernetwork(Method):
    """Structure, activations and initialisations as AUTOMATIC1111 has them; the widths are the model's own."""

    def __init__(self, options: HypernetworkOptions, seed: int) -> None:
        self.options = options
        self.seed = seed
        self.pairs = nn.ModuleDict()

    @classmethod
    def from_plan(cls, plan: Plan) -> Self:
        options = options_of(plan, HypernetworkOptions)
        return cls(options, plan.seed)

    def modules(self) -> Mapping[str, nn.Module]:
        return {"hypernetwork": self.pairs}

    def prepare(self, family: ModelFamily) -> Sequence[Trainable]:
        layers = family.attention_layers()
        widths = {layer.width for layer in layers if layer.cross or self.options.self_attention}
        for width in sorted(widths):
            pair = nn.ModuleDict({side: Residual(width, self.options) for side in ("k", "v")})
            for side, residual in pair.items():
                self._initialise(residual, f"{width}.{side}")
            self.pairs[str(width)] = pair
        if self.options.start:
            self._fill(Path(self.options.start).expanduser())
        # A file is read by width: every attention that is given such a context takes part, here as there.
        for layer in layers:
            if layer.width in widths:
                chosen: Any = self.pairs[str(layer.width)]
                attention: Any = layer.module
                attention.to_k.register_forward_pre_hook(_through(chosen["k"]))
                attention.to_v.register_forward_pre_hook(_through(chosen["v"]))
        return [
            Trainable(f"hypernetwork.{name}", parameter, "hypernetwork", None, parameter.ndim > 1)
            for name, parameter in self.pairs.named_parameters()
        ]

    @torch.no_grad()
    def _fill(self, path: Path) -> None:
        """Every layer takes the file's numbers; UserError where it lacks one or has another shape."""
        file, weights = read_hypernetwork(path), read_weights(path, START)
        own = {
            f"{width}.{side}.{number}.{name}": value
            for width, pair in self.pairs.items()
            for side, residual in cast(Any, pair).items()
            for number, layer in enumerate(residual.linears())
            for name, value in layer.named_parameters()
        }
        for name in sorted(own.keys() | file.tensors.keys()):
            value = weights[file.tensors[name]].float() if name in file.tensors else None
            if name not in own or value is None or value.shape != own[name].shape:
                why = f"{name} is in the {'plan' if name in own else 'file'} alone, or of another size"
                fix = "set structure, activation and self_attention as the file has them"
                raise UserError(f"{START}: {path} does not fit this plan", why, fix)
            if not torch.isfinite(value).all():
                raise UserError(
                    f"{START}: {path} holds values that are not finite", fix="name an earlier file"
                )
            own[name].copy_(value)

    @torch.no_grad()
    def _initialise(self, residual: nn.Module, name: str) -> None:
        for key, parameter in residual.named_parameters():
            draw = generator(self.seed, "init", f"hypernetwork.{name}.{key}")
            if parameter.ndim == 1:
                parameter.zero_()
            else:
                self._draw(parameter, draw)

    def _draw(self, weight: nn.Parameter, draw: torch.Generator) -> None:
        kind = self.options.initialization
        slope: Any = "leaky_relu" if self.options.activation == "leakyrelu" else "relu"
        if kind == "Normal":
            nn.init.normal_(weight, std=NORMAL_DEVIATION, generator=draw)
        elif kind == "XavierUniform":
            nn.init.xavier_uniform_(weight, generator=draw)
        elif kind == "XavierNormal":
            nn.init.xavier_normal_(weight, generator=draw)
        elif kind == "KaimingUniform":
            nn.init.kaiming_uniform_(weight, nonlinearity=slope, generator=draw)
        else:
            nn.init.kaiming_normal_(weight, nonlinearity=slope, generator=draw)

    def artifact(self, family: ModelFamily) -> Artifact:
        """`WIDTH.SIDE.N.weight` and `.bias`: N counts the linear layers alone."""
        tensors: dict[str, Tensor] = {}
        for width, pair in self.pairs.items():
            sides: Any = pair
            for side, residual in sides.items():
                for index, layer in enumerate(residual.linears()):
                    for name in ("weight", "bias"):
                        value = getattr(layer, name).detach().float().cpu().clone()
                        tensors[f"{width}.{side}.{index}.{name}"] = value
        facts: dict[str, object] = {
            "layer_structure": list(self.options.layer_structure),
            "activation": self.options.activation,
            "initialization": self.options.initialization,
        }
        return Artifact("hypernetwork", tensors, facts)


def _through(residual: nn.Module) -> Callable[[nn.Module, tuple[Tensor, ...]], tuple[Tensor, ...]]:
    def hook(module: nn.Module, given: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return (residual(given[0]), *given[1:])

    return hook
