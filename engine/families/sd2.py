"""Stable Diffusion 2.x: OpenCLIP-H's text encoder cut to its last but one layer, and linear projections."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from engine.families.loaded import Configs, LoadedFamily
from engine.families.sd1 import StableDiffusion1
from engine.models.families.sd2 import SD2
from engine.models.family_spec import FamilySpec
from engine.models.markers import LN_100, LOGIT_SCALE
from engine.tensorfiles.safetensors_file import target_dtype


class StableDiffusion2(StableDiffusion1):
    """Else like SD 1.x."""

    spec: FamilySpec = SD2

    @staticmethod
    def file_extras(tensors: Mapping[str, Tensor], configs: Configs) -> dict[str, Tensor]:
        """What SD 2.x programs load but never use: one more layer, the projection and the logit scale."""
        (part,) = SD2.text
        prefix, config = part.prefix, configs[part.name]
        last = int(config["num_hidden_layers"]) - 1
        start, copy = f"{prefix}transformer.resblocks.{last}.", f"{prefix}transformer.resblocks.{last + 1}."
        extras = {
            name.replace(start, copy): tensor for name, tensor in tensors.items() if name.startswith(start)
        }
        width = int(config["hidden_size"])
        dtype = target_dtype(tensors[f"{prefix}ln_final.weight"], None)
        extras[f"{prefix}text_projection"] = torch.eye(width, dtype=dtype)
        extras[prefix + LOGIT_SCALE] = torch.tensor(LN_100, dtype=dtype)
        return extras | LoadedFamily.file_extras(tensors, configs)
