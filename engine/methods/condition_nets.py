"""What ControlNet and T2I-Adapter share: a network beside the frozen denoiser that a condition picture goes through."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from engine.draws import generator
from engine.errors import UserError
from engine.families.base import Conditioning, ModelFamily, Residuals
from engine.methods.artifact import Artifact
from engine.methods.base import Method, Trainable
from engine.plan.methods.conditions import WEIGHTS
from engine.tensorfiles import pickles
from engine.tensorfiles.memory import load_tensors

CONTROL = "control"
"""The name of the condition pictures in a batch, [b, c, h, w] in [0, 1]."""
PICKLES = frozenset((".ckpt", ".pt", ".pth", ".bin"))


Answer = Callable[[Tensor, Tensor, Conditioning, Tensor], Residuals]
"""From noisy latents, timesteps, conditioning and condition pictures to what `denoise` takes beside them."""


class ConditionNet(Method):
    """Trains the network that `build` makes, and nothing else."""

    name: str
    """The method's own name, which is the artifact's kind too."""

    contrast = "loss without the condition"

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.net: nn.Module | None = None

    @abstractmethod
    def build(self, family: ModelFamily) -> nn.Module:
        """The network as it is before the first step."""

    @abstractmethod
    def answer(self, family: ModelFamily, net: nn.Module) -> Answer:
        """How the network and the denoiser are put together."""

    def prepare(self, family: ModelFamily) -> Sequence[Trainable]:
        self.net = self.build(family)
        # Biases and norms are not decayed.
        return [
            Trainable(f"{self.name}.{key}", parameter, self.name, None, parameter.ndim > 1)
            for key, parameter in self.net.named_parameters()
        ]

    def modules(self) -> Mapping[str, nn.Module]:
        return {} if self.net is None else {self.name: self.net}

    def residuals(
        self,
        family: ModelFamily,
        noisy: Tensor,
        timesteps: Tensor,
        cond: Conditioning,
        batch: Mapping[str, Any],
    ) -> Residuals:
        assert self.net is not None, "prepare comes first"
        return self.answer(family, self.net)(noisy, timesteps, cond, batch[CONTROL])

    def artifact(self, family: ModelFamily) -> Artifact:
        assert self.net is not None, "prepare comes first"
        return artifact_of(self.net, self.name)


def fresh_convolutions(module: nn.Module, seed: int, name: str) -> None:
    """Give every convolution below `module` He's initial law (arXiv:1502.01852), drawn by seed and name.

    Only for a plain chain of convolutions that ends in a zero convolution, which hides the chain's scale. torch's own
    law lets the condition fade there: after ControlNet's seven convolutions two outlines differ by 3e-5, with He's by
    6e-2. On the built-in model ControlNet then follows its outlines after 400 steps, and with torch's not after 900.
    In a residual net the same law triples the variance with every block. The draw is keyed, so that a rebuilt run
    starts from the same weights.
    """
    for path, part in module.named_modules():
        if not isinstance(part, nn.Conv2d):
            continue
        draw = generator(seed, "init", f"{name}.{path}")
        with torch.no_grad():
            nn.init.kaiming_normal_(part.weight, nonlinearity="relu", generator=draw)
            if part.bias is not None:
                part.bias.zero_()


def artifact_of(module: nn.Module, kind: str) -> Artifact:
    """The module's weights under diffusers' names, and its config."""
    tensors = {name: value.detach().float().cpu().clone() for name, value in module.state_dict().items()}
    return Artifact(kind, tensors, {"config": dict(cast(Any, module).config)})


def read_weights(path: Path, key: str) -> dict[str, Tensor]:
    """The tensors of a diffusers folder or of a file, by their own names; nothing in a pickle is executed.

    UserError, with the plan's `key`, for what cannot be read.
    """
    if path.is_dir():
        found = sorted(path.glob("*.safetensors"), key=lambda file: (file.name != WEIGHTS, file.name))
        if not found:
            raise UserError(
                f"{key}: {path} holds no .safetensors file", fix="name a diffusers folder or a file"
            )
        path = found[0]
    if not path.is_file():
        raise UserError(f"{key}: {path} is not there", fix="correct the path")
    if path.suffix in PICKLES:
        return pickles.load(path)
    try:
        return load_tensors(path)
    except (UserError, OSError) as error:
        raise UserError(
            f"{key}: {path} cannot be read",
            error.why if isinstance(error, UserError) else str(error),
            "get the file again",
        ) from error


def fill(module: nn.Module, weights: Mapping[str, Tensor], key: str, where: str) -> None:
    """Put the weights in; UserError names the first one that is missing, left over or of another shape."""
    own = module.state_dict()
    reason = ""
    if missing := own.keys() - weights.keys():
        reason = f"it lacks {len(missing)} tensors, for example {min(missing)}"
    elif extra := weights.keys() - own.keys():
        reason = f"it has {len(extra)} tensors too many, for example {min(extra)}"
    else:
        for name, value in own.items():
            if weights[name].shape != value.shape:
                reason = f"{name} is {list(weights[name].shape)}, and {list(value.shape)} is needed"
                break
    if reason:
        fix = "choose one that was made for this family and number of channels, or leave it out"
        raise UserError(f"{key}: {where} does not fit this base model", reason, fix)
    module.load_state_dict({name: weights[name].to(value.dtype) for name, value in own.items()})
