"""Stable Diffusion 1.x: one CLIP text encoder, a UNet with cross-attention, a 4-channel VAE."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

from torch import Tensor, nn

from engine.families.base import Conditioning, Geometry, Residuals, module_dtype
from engine.families.schedule import NoiseSchedule
from engine.plan.families import SD1, FamilySpec

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


class StableDiffusion1:
    """SD 1.x from its loaded parts; see `engine.families.load` for where they come from."""

    spec: FamilySpec = SD1

    def __init__(
        self,
        unet: nn.Module,
        vae: nn.Module,
        text_encoder: nn.Module,
        tokenizer: Any,
        schedule: NoiseSchedule,
        configs: Mapping[str, Mapping[str, Any]],
    ) -> None:
        self._parts = {"unet": unet, "vae": vae, "text_encoder": text_encoder}
        self.tokenizer = tokenizer
        self.schedule = schedule
        self.configs = configs
        self.scaling = float(configs["vae"].get("scaling_factor", 0.18215))

    @property
    def parts(self) -> Mapping[str, nn.Module]:
        return self._parts

    @property
    def denoiser(self) -> nn.Module:
        return self._parts["unet"]

    def encode_image(self, pixels_bchw: Tensor) -> tuple[Tensor, Tensor]:
        vae = cast(Any, self._parts["vae"])
        moments = vae.encode(pixels_bchw.to(module_dtype(vae))).latent_dist
        return moments.mean.float() * self.scaling, moments.std.float() * self.scaling

    def decode_latents(self, latents_bchw: Tensor) -> Tensor:
        vae = cast(Any, self._parts["vae"])
        return cast(Tensor, vae.decode((latents_bchw / self.scaling).to(module_dtype(vae))).sample.float())

    def tokenize(self, captions: Sequence[str]) -> dict[str, Tensor]:
        tokens = self.tokenizer(
            list(captions),
            padding="max_length",
            truncation=True,
            max_length=self.tokenizer.model_max_length,
            return_tensors="pt",
        )
        return {"text_encoder": tokens.input_ids}

    def encode_text(self, ids: Mapping[str, Tensor]) -> Conditioning:
        encoder = self._parts["text_encoder"]
        device = next(encoder.parameters()).device
        return Conditioning(encoder(ids["text_encoder"].to(device))[0])

    def with_geometry(self, cond: Conditioning, sizes: Sequence[Geometry]) -> Conditioning:
        return cond

    def denoise(self, noisy: Tensor, timesteps: Tensor, cond: Conditioning, residuals: Residuals) -> Tensor:
        return cast(Tensor, self.denoiser(noisy, timesteps, cond.hidden, return_dict=False, **residuals)[0])

    def lora_targets(self, part: str, role: str) -> list[str]:
        endings = (UNET_ROLES if part == "unet" else TEXT_ROLES)[role]
        return [
            name
            for name, module in self._parts[part].named_modules()
            if isinstance(module, nn.Linear | nn.Conv2d) and any(_ends(name, ending) for ending in endings)
        ]

    def enable_gradient_checkpointing(self) -> None:
        cast(Any, self.denoiser).enable_gradient_checkpointing()
        cast(Any, self._parts["text_encoder"]).gradient_checkpointing_enable()


def _ends(name: str, ending: str) -> bool:
    return name == ending or name.endswith(f".{ending}")
