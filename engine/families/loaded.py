"""What every loaded family begins with."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from engine.families.base import ModelFamily
from engine.families.schedule import NoiseSchedule
from engine.models.markers import ZERO_SNR
from engine.models.prediction import VELOCITY

Configs = Mapping[str, Mapping[str, Any]]


class LoadedFamily(ModelFamily):
    """A family from its loaded parts; see `engine.families.load` for where they come from."""

    def __init__(
        self,
        parts: Mapping[str, nn.Module],
        tokenizers: Mapping[str, Any],
        schedule: NoiseSchedule,
        configs: Mapping[str, Mapping[str, Any]],
    ) -> None:
        """`parts` are the spec's parts with weights; `tokenizers` are named like the text parts."""
        self._parts = dict(parts)
        self.tokenizers = tokenizers
        self.schedule = schedule
        self.configs = configs

    @staticmethod
    @abstractmethod
    def new_schedule(config: Mapping[str, Any]) -> NoiseSchedule:
        """The noise schedule of a diffusers scheduler config."""

    @staticmethod
    def file_extras(tensors: Mapping[str, Tensor], configs: Configs) -> dict[str, Tensor]:
        """Tensors that programs look for in a single file beside these, and no part has; by default the mark of a
        schedule that ends without any signal."""
        scheduler = configs.get("scheduler", {})
        ends = scheduler.get("prediction_type") == VELOCITY and scheduler.get("rescale_betas_zero_snr")
        return {ZERO_SNR: torch.zeros(0)} if ends else {}

    @property
    def parts(self) -> Mapping[str, nn.Module]:
        return self._parts

    @property
    def denoiser(self) -> nn.Module:
        return self._parts[self.spec.denoiser]
