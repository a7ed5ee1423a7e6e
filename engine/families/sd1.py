"""Stable Diffusion 1.x: one CLIP text encoder, a UNet with cross-attention, a 4-channel VAE."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, cast

import torch
from torch import Tensor, nn

from engine.draws import keyed
from engine.errors import UserError
from engine.families.base import (
    AttentionLayer,
    Conditioning,
    Geometry,
    Guided,
    Residuals,
    ResidualsOf,
    frozen,
    module_dtype,
)
from engine.families.clip_text import encode, token_ids
from engine.families.guidance import classifier_free
from engine.families.loaded import LoadedFamily
from engine.families.schedule import NoiseSchedule
from engine.families.variance_preserving import VariancePreserving
from engine.models.families.sd1 import SD1
from engine.models.family_spec import FamilySpec
from engine.models.keymap_unet import block_of, unet_module_map
from engine.models.widths import with_widths

UNET_ROLES: dict[str, tuple[str, ...]] = {
    "attention": ("to_q", "to_k", "to_v", "to_out.0"),
    "attention_ff": ("to_q", "to_k", "to_v", "to_out.0", "ff.net.0.proj", "ff.net.2", "proj_in", "proj_out"),
    "all": (
        "to_q", "to_k", "to_v", "to_out.0", "ff.net.0.proj", "ff.net.2", "proj_in", "proj_out",
        "conv1", "conv2", "conv_shortcut", "time_emb_proj", "downsamplers.0.conv", "upsamplers.0.conv",
    ),
}  # fmt: skip
TEXT_ROLES: dict[str, tuple[str, ...]] = {
    "attention": ("q_proj", "k_proj", "v_proj", "out_proj"),
    "attention_ff": ("q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2"),
    "all": ("q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2"),
}

SWAPPED = ("BasicTransformerBlock", "ResnetBlock2D")
"""The classes of diffusers' UNet that hold nearly all of its weights."""


class StableDiffusion1(LoadedFamily):
    """The UNet, the VAE and CLIP-L."""

    spec: FamilySpec = SD1

    @staticmethod
    def new_schedule(config: Mapping[str, Any]) -> NoiseSchedule:
        """Of a diffusers scheduler config."""
        return VariancePreserving.from_config(config)

    @property
    def scaling(self) -> float:
        """What the VAE's latents are multiplied by."""
        return float(self.configs["vae"].get("scaling_factor", 0.18215))

    def encode_image(self, pixels_bchw: Tensor) -> tuple[Tensor, Tensor]:
        vae = cast(Any, self._parts["vae"])
        with _own_dtype(pixels_bchw):
            moments = vae.encode(pixels_bchw.to(module_dtype(vae))).latent_dist
        return moments.mean.float() * self.scaling, moments.std.float() * self.scaling

    def decode_latents(self, latents_bchw: Tensor) -> Tensor:
        vae = cast(Any, self._parts["vae"])
        with _own_dtype(latents_bchw):
            pixels = vae.decode((latents_bchw / self.scaling).to(module_dtype(vae))).sample
        return cast(Tensor, pixels.float())

    def tokenize(self, captions: Sequence[str]) -> dict[str, Tensor]:
        tokenizers = {part: self.tokenizers[part] for part in self.spec.text_parts}
        return token_ids(tokenizers, captions, self.reading.chunks)

    def encode_text(self, ids: Mapping[str, Tensor]) -> Conditioning:
        part = "text_encoder"
        positions = self.tokenizers[part].model_max_length
        return Conditioning(encode(self._parts[part], ids[part], positions, self.reading.layer))

    def with_geometry(self, cond: Conditioning, sizes: Sequence[Geometry]) -> Conditioning:
        return cond

    def denoise(self, noisy: Tensor, timesteps: Tensor, cond: Conditioning, residuals: Residuals) -> Tensor:
        return cast(Tensor, self.denoiser(noisy, timesteps, cond.hidden, return_dict=False, **residuals)[0])

    def guided(
        self,
        prompt: Conditioning,
        negative: Conditioning,
        guidance: float,
        residuals: ResidualsOf | None,
        rescale: float = 0.0,
    ) -> Guided:
        return classifier_free(self, prompt, negative, guidance, residuals, rescale)

    def lora_targets(self, part: str, role: str) -> list[str]:
        endings = (UNET_ROLES if part == "unet" else TEXT_ROLES)[role]
        return [
            name
            for name, module in self._parts[part].named_modules()
            if isinstance(module, nn.Linear | nn.Conv2d) and any(_ends(name, ending) for ending in endings)
        ]

    def enable_gradient_checkpointing(self) -> None:
        cast(Any, self.denoiser).enable_gradient_checkpointing()
        for part in self.spec.text_parts:
            cast(Any, self._parts[part]).gradient_checkpointing_enable()

    def blocks_to_swap(self) -> Sequence[nn.Module]:
        return [module for module in self.denoiser.modules() if type(module).__name__ in SWAPPED]

    def attention_layers(self) -> Sequence[AttentionLayer]:
        found = []
        for name, module in self.denoiser.named_modules():
            if name.endswith((".attn1", ".attn2")):
                width = int(cast(Any, module).to_k.in_features)
                found.append(AttentionLayer(name, module, name.endswith(".attn2"), width))
        return found

    def block_of(self, path: str) -> str:
        return block_of(self._unet_names, path)

    @cached_property
    def _unet_names(self) -> dict[str, str]:
        return unet_module_map(self.configs["unet"])

    def renew_denoiser(self, widths: Sequence[int], seed: int) -> None:
        from diffusers import UNet2DConditionModel

        config = with_widths(self.configs["unet"], widths)
        with keyed(seed, "init", "unet"):
            fresh = cast(nn.Module, UNet2DConditionModel.from_config(config))
        self._parts["unet"] = frozen(fresh)
        self.configs = {**self.configs, "unet": config}

    def predict(self, prediction: str, zero_terminal_snr: bool) -> None:
        config = {**self.configs["scheduler"], "prediction_type": prediction}
        if zero_terminal_snr:
            config |= {"rescale_betas_zero_snr": True, "timestep_spacing": "trailing"}
        self.configs = {**self.configs, "scheduler": config}
        self.schedule = self.new_schedule(config)

    def new_controlnet(self, channels: int) -> nn.Module:
        from diffusers import ControlNetModel

        unet = cast(Any, self.denoiser)
        return cast(nn.Module, ControlNetModel.from_unet(unet, conditioning_channels=channels))

    def controlnet_residuals(
        self, net: nn.Module, noisy: Tensor, timesteps: Tensor, cond: Conditioning, control_bchw: Tensor
    ) -> Residuals:
        down, mid = net(
            noisy,
            timesteps,
            encoder_hidden_states=cond.hidden,
            controlnet_cond=control_bchw,
            added_cond_kwargs=dict(cond.extra) or None,
            return_dict=False,
        )
        return {"down_block_additional_residuals": down, "mid_block_additional_residual": mid}

    def new_t2i_adapter(self, kind: str, channels: int) -> nn.Module:
        from diffusers import T2IAdapter

        chosen = "full_adapter" if kind == "auto" else kind
        widths = list(self.configs["unet"]["block_out_channels"])
        if chosen == "full_adapter_xl" or (chosen == "light_adapter" and widths[-1] != widths[-2]):
            raise UserError(
                f"t2i_adapter: {chosen} does not fit this {self.spec.title}",
                f"its features do not have the sizes of the UNet's levels {widths}",
                "leave the kind at auto, which is full_adapter here",
            )
        widths = widths[:3] if chosen == "light_adapter" else widths
        blocks = 4 if chosen == "light_adapter" else 2
        return cast(
            nn.Module,
            T2IAdapter(
                channels, channels=widths, num_res_blocks=blocks, downscale_factor=8, adapter_type=chosen
            ),
        )

    def t2i_residuals(self, net: nn.Module, control_bchw: Tensor) -> Residuals:
        return {"down_intrablock_additional_residuals": list(net(control_bchw))}


def _own_dtype(tensor: Tensor) -> torch.autocast:
    """No autocast inside: SDXL's VAE overflows in fp16, whose largest number is 65504."""
    return torch.autocast(tensor.device.type, enabled=False)


def _ends(name: str, ending: str) -> bool:
    return name == ending or name.endswith(f".{ending}")
