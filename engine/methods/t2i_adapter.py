"""T2I-Adapter: a small network that adds features of a condition picture to the denoiser's encoder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from engine.families.base import Conditioning, ModelFamily, Residuals
from engine.methods.artifact import Artifact
from engine.methods.base import PlainMethod, Trainable
from engine.methods.condition_nets import CONTROL, artifact_of, fresh_convolutions, trainables
from engine.plan.methods.t2i_adapter import T2iAdapterOptions

NAME = "t2i_adapter"


class T2iAdapter(PlainMethod):
    """Mou et al. 2023 (arXiv:2302.08453). The features do not depend on the timestep; the denoiser is frozen."""

    def __init__(self, options: T2iAdapterOptions, seed: int) -> None:
        self.options = options
        self.seed = seed
        self.net: nn.Module | None = None

    def prepare(self, family: ModelFamily) -> Sequence[Trainable]:
        with torch.random.fork_rng(devices=[]):
            net = family.new_t2i_adapter(self.options.kind, int(self.options.channels))
        fresh_convolutions(net, self.seed, NAME)
        self.net = net
        return trainables(net, NAME)

    def modules(self) -> Mapping[str, nn.Module]:
        return {} if self.net is None else {NAME: self.net}

    def residuals(
        self,
        family: ModelFamily,
        noisy: Tensor,
        timesteps: Tensor,
        cond: Conditioning,
        batch: Mapping[str, Any],
    ) -> Residuals:
        assert self.net is not None, "prepare comes first"
        return family.t2i_residuals(self.net, batch[CONTROL])

    def artifact(self, family: ModelFamily) -> Artifact:
        assert self.net is not None, "prepare comes first"
        return artifact_of(self.net, NAME)
