"""Stable Diffusion XL: two CLIP text encoders, and a UNet that is also told sizes, crops and a pooled text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from engine.errors import UserError
from engine.families.base import Conditioning, Geometry, Residuals
from engine.families.loaded import Configs, LoadedFamily
from engine.families.sd1 import StableDiffusion1
from engine.models.families.sdxl import SDXL
from engine.models.family_spec import FamilySpec
from engine.models.markers import LN_100, LOGIT_SCALE, V_PREDICTION
from engine.tensorfiles.safetensors_file import target_dtype


class StableDiffusionXL(StableDiffusion1):
    """SDXL base. The first encoder is CLIP-L, the second OpenCLIP bigG; both give their last but one layer."""

    spec: FamilySpec = SDXL

    @staticmethod
    def file_extras(tensors: Mapping[str, Tensor], configs: Configs) -> dict[str, Tensor]:
        """The logit scale that the published file has, and the marks of v-prediction that ComfyUI looks for."""
        prefix, scheduler = SDXL.text[-1].prefix, configs["scheduler"]
        dtype = target_dtype(tensors[f"{prefix}ln_final.weight"], None)
        extras = {prefix + LOGIT_SCALE: torch.tensor(LN_100, dtype=dtype)}
        if scheduler.get("prediction_type") == "v_prediction":
            extras[V_PREDICTION] = torch.zeros(0)
            extras |= LoadedFamily.file_extras(tensors, configs)
        return extras

    def encode_text(self, ids: Mapping[str, Tensor]) -> Conditioning:
        hidden, pooled = [], None
        for part in self.spec.text_parts:
            encoder = cast(Any, self.parts[part])
            device = next(encoder.parameters()).device
            rows = ids[part].to(device).view(-1, self.tokenizers[part].model_max_length)
            answer = encoder(rows, output_hidden_states=True)
            states = answer.hidden_states[-2]
            hidden.append(states.reshape(len(ids[part]), -1, states.shape[-1]))
            # The first chunk's, as ComfyUI and A1111 take it.
            pooled = answer[0][:: len(rows) // len(ids[part])]
        assert pooled is not None
        return Conditioning(torch.cat(hidden, dim=-1), {"text_embeds": pooled})

    def with_geometry(self, cond: Conditioning, sizes: Sequence[Geometry]) -> Conditioning:
        # Always fp32: bf16 rounds sizes above 256 px, and the embedding of a size changes with each pixel.
        rows = [[*size.original, *size.crop, *size.target] for size in sizes]
        time_ids = torch.tensor(rows, dtype=torch.float32).to(cond.hidden.device, non_blocking=True)
        return Conditioning(cond.hidden, {**cond.extra, "time_ids": time_ids})

    def denoise(self, noisy: Tensor, timesteps: Tensor, cond: Conditioning, residuals: Residuals) -> Tensor:
        answer = self.denoiser(
            noisy,
            timesteps,
            cond.hidden,
            added_cond_kwargs={"text_embeds": cond.extra["text_embeds"], "time_ids": cond.extra["time_ids"]},
            return_dict=False,
            **residuals,
        )
        return cast(Tensor, answer[0])

    def new_t2i_adapter(self, kind: str, channels: int) -> nn.Module:
        if kind not in ("auto", "full_adapter_xl"):
            raise UserError(
                f"t2i_adapter: {kind} does not fit Stable Diffusion XL",
                "its features are those of a UNet with four levels, and this one has three",
                "leave the kind at auto, which is full_adapter_xl here",
            )
        from diffusers import T2IAdapter

        widths = list(self.configs["unet"]["block_out_channels"])
        # Three levels and the middle block take one feature each.
        return cast(
            nn.Module,
            T2IAdapter(
                channels,
                channels=[*widths, widths[-1]],
                num_res_blocks=2,
                downscale_factor=16,
                adapter_type="full_adapter_xl",
            ),
        )
