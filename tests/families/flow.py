"""Two narrow flow-matching families that exist for tests only: one like Stable Diffusion 3, one like FLUX.

Together they have what the shipped families have not: a transformer, shares of noise as timesteps, no signal-to-noise
ratio, 16 latent channels with a shift, packed latents, and guidance as an input.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import torch
from diffusers import AutoencoderKL, FluxTransformer2DModel, SD3Transformer2DModel
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModelWithProjection

from engine.demo.tokenizer import MAX_LENGTH, vocabulary, write_tokenizer
from engine.errors import UserError
from engine.families.base import Conditioning, Geometry, Guided, ModelFamily, Residuals, ResidualsOf, frozen
from engine.families.guidance import classifier_free
from engine.families.schedule import NoiseSchedule
from engine.families.tokenizers import load_tokenizer
from engine.models.family_spec import BASE, Blocks, FamilySpec, TextPart
from engine.models.layers import Layer
from engine.plan.objective import Objective

WIDTH = 32
TRAINED_GUIDANCE = 1.0


class Flow(NoiseSchedule):
    """Rectified flow (Esser et al. 2024, arXiv:2403.03206): x = (1 - s) clean + s noise, and s times `scale` is what
    the denoiser takes."""

    prediction = "velocity"

    def __init__(self, scale: float) -> None:
        self.scale = scale

    def shift(self, shape: Sequence[int]) -> float:
        """How much noisier than evenly spread."""
        return 3.0

    def _shifted(self, shares: Tensor, shape: Sequence[int]) -> Tensor:
        shift = self.shift(shape)
        return self.scale * (shift * shares / (1 + (shift - 1) * shares)).float()

    def timesteps(self, uniforms: Sequence[float], objective: Objective, shape: Sequence[int]) -> Tensor:
        draws = torch.tensor(uniforms, dtype=torch.float64).clamp(1e-6, 1 - 1e-6)
        return self._shifted(torch.sigmoid(torch.special.ndtri(draws)), shape)

    def timetable(self, steps: int, shape: Sequence[int]) -> list[float]:
        shares = 1 - torch.arange(steps, dtype=torch.float64) / steps
        return [float(time) for time in self._shifted(shares, shape)]

    def _share(self, timesteps: Tensor) -> Tensor:
        return (timesteps / self.scale).view(-1, 1, 1, 1)

    def add_noise(self, latents: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        share = self._share(timesteps)
        return (1 - share) * latents + share * noise

    def target(self, latents: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        return noise - latents

    def split(self, noisy: Tensor, prediction: Tensor, timesteps: Tensor) -> tuple[Tensor, Tensor]:
        share = self._share(timesteps)
        return noisy - share * prediction, noisy + (1 - share) * prediction

    def final(self, clean: Tensor, noise: Tensor) -> Tensor:
        return clean

    def thousandths(self, timesteps: Tensor) -> Tensor:
        return timesteps.float() * (1000 / self.scale)

    def snr(self, timesteps: Tensor) -> Tensor:
        raise UserError("min-SNR does not go with a flow", fix="set objective.min_snr_gamma = 0")


class FlowBySize(Flow):
    """The shift grows with the number of packed image tokens, as FLUX' does."""

    def shift(self, shape: Sequence[int]) -> float:
        tokens = shape[1] * shape[2] / 4
        return math.exp(0.5 + (tokens - 256) * 0.65 / 3840)


def block_of(path: str) -> str:
    """J00.. for blocks with two streams, S00.. for those with one, or BASE."""
    first, _, rest = path.partition("transformer_blocks.")
    number = rest.partition(".")[0]
    return BASE if not number else f"{'S' if first.startswith('single') else 'J'}{int(number):02d}"


def _layers(config: Mapping[str, Any]) -> list[Layer]:
    width = int(config["attention_head_dim"]) * int(config["num_attention_heads"])
    return [
        Layer(f"transformer_blocks.{index}.attn.{name}", "attention", width, width, level=1)
        for index in range(int(config["num_layers"]))
        for name in ("to_q", "to_k", "to_v")
    ]


def _spec(name: str, denoiser_class: str) -> FamilySpec:
    return FamilySpec(
        name=name,
        title=f"narrow {name}",
        short=name,
        denoiser="transformer",
        denoiser_title="transformer",
        denoiser_class=denoiser_class,
        resolution=64,
        downscale=8,
        latent_channels=16,
        text=(
            TextPart(
                name="text_encoder",
                class_name="CLIPTextModelWithProjection",
                parameters=0,
                below="text_encoders.clip_l.",
                prefix="text_encoders.clip_l.transformer.",
                layout="hf",
                kohya="lora_te1",
                projects=True,
            ),
        ),
        token_limit=75,
        provides=frozenset({"text_encoder"}),
        layers=_layers,
        block_finder=lambda config: block_of,
        recognise=lambda config: f"{name}: it says so" if config.get("_class_name") == denoiser_class else "",
        blocks=Blocks(order=("J00", "J01", "S00")),
    )


class NarrowSd3(ModelFamily):
    """A diffusers SD3Transformer2DModel with one CLIP in the place of three text encoders."""

    spec = _spec("narrow_sd3", "SD3Transformer2DModel")

    def __init__(self, folder: Path, seed: int = 0) -> None:
        """Random weights; the tokenizer is written to `folder`."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            denoiser, vae, text = self.new_denoiser(), new_vae(), new_text_encoder()
        found: dict[str, nn.Module] = {"transformer": denoiser, "vae": vae, "text_encoder": text}
        self._parts = {name: frozen(part) for name, part in found.items()}
        write_tokenizer(folder)
        self.tokenizers: Mapping[str, Any] = {"text_encoder": load_tokenizer(folder)}
        self.configs: Mapping[str, Mapping[str, Any]] = {
            "vae": dict(vae.config),
            "transformer": dict(cast(Any, denoiser).config),
        }
        self.schedule = self.new_schedule()

    def new_denoiser(self) -> nn.Module:
        net: nn.Module = SD3Transformer2DModel(
            sample_size=8,
            patch_size=2,
            in_channels=16,
            num_layers=2,
            attention_head_dim=8,
            num_attention_heads=4,
            joint_attention_dim=WIDTH,
            caption_projection_dim=32,
            pooled_projection_dim=WIDTH,
            out_channels=16,
            pos_embed_max_size=16,
            qk_norm="rms_norm",
        )
        return net

    def new_schedule(self) -> NoiseSchedule:
        return Flow(1000.0)

    @property
    def parts(self) -> Mapping[str, nn.Module]:
        return self._parts

    @property
    def denoiser(self) -> nn.Module:
        return self._parts["transformer"]

    def encode_image(self, pixels_bchw: Tensor) -> tuple[Tensor, Tensor]:
        config, vae = self.configs["vae"], cast(Any, self._parts["vae"])
        moments = vae.encode(pixels_bchw).latent_dist
        scale = config["scaling_factor"]
        return (moments.mean - config["shift_factor"]) * scale, moments.std * scale

    def decode_latents(self, latents_bchw: Tensor) -> Tensor:
        config, vae = self.configs["vae"], cast(Any, self._parts["vae"])
        return cast(
            Tensor, vae.decode(latents_bchw / config["scaling_factor"] + config["shift_factor"]).sample
        )

    def tokenize(self, captions: Sequence[str]) -> dict[str, Tensor]:
        tokens = self.tokenizers["text_encoder"](
            list(captions), padding="max_length", truncation=True, max_length=MAX_LENGTH, return_tensors="pt"
        )
        return {"text_encoder": tokens.input_ids}

    def encode_text(self, ids: Mapping[str, Tensor]) -> Conditioning:
        answer = cast(Any, self._parts["text_encoder"])(ids["text_encoder"], output_hidden_states=True)
        return Conditioning(answer.hidden_states[-2], {"pooled": answer.text_embeds})

    def with_geometry(self, cond: Conditioning, sizes: Sequence[Geometry]) -> Conditioning:
        return cond

    def denoise(self, noisy: Tensor, timesteps: Tensor, cond: Conditioning, residuals: Residuals) -> Tensor:
        pooled = cond.extra["pooled"]
        return cast(Tensor, self.denoiser(noisy, cond.hidden, pooled, timesteps, return_dict=False)[0])

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
        endings = ("to_q", "to_k", "to_v", "q_proj", "k_proj", "v_proj")
        return [name for name, _ in self._parts[part].named_modules() if name.rpartition(".")[2] in endings]

    def enable_gradient_checkpointing(self) -> None:
        cast(Any, self.denoiser).enable_gradient_checkpointing()

    def block_of(self, path: str) -> str:
        return block_of(path)


class NarrowFlux(NarrowSd3):
    """A diffusers FluxTransformer2DModel: packed latents, and guidance as an input of one pass."""

    spec = _spec("narrow_flux", "FluxTransformer2DModel")

    def new_denoiser(self) -> nn.Module:
        net: nn.Module = FluxTransformer2DModel(
            patch_size=1,
            in_channels=64,
            num_layers=1,
            num_single_layers=1,
            attention_head_dim=16,
            num_attention_heads=2,
            joint_attention_dim=WIDTH,
            pooled_projection_dim=WIDTH,
            guidance_embeds=True,
            axes_dims_rope=(4, 6, 6),
        )
        return net

    def new_schedule(self) -> NoiseSchedule:
        return FlowBySize(1.0)

    def denoise(self, noisy: Tensor, timesteps: Tensor, cond: Conditioning, residuals: Residuals) -> Tensor:
        count, channels, height, width = noisy.shape
        guidance = cond.extra.get("guidance", torch.full((count,), TRAINED_GUIDANCE, device=noisy.device))
        rows, columns = torch.meshgrid(torch.arange(height // 2), torch.arange(width // 2), indexing="ij")
        places = torch.stack([torch.zeros_like(rows), rows, columns], dim=-1).view(-1, 3).to(noisy)
        answer = self.denoiser(
            pack(noisy),
            encoder_hidden_states=cond.hidden,
            pooled_projections=cond.extra["pooled"],
            timestep=timesteps,
            img_ids=places,
            txt_ids=torch.zeros(cond.hidden.shape[1], 3).to(noisy),
            guidance=guidance,
            return_dict=False,
        )[0]
        return unpack(answer, channels, height, width)

    def guided(
        self,
        prompt: Conditioning,
        negative: Conditioning,
        guidance: float,
        residuals: ResidualsOf | None,
        rescale: float = 0.0,
    ) -> Guided:
        told = torch.full((len(prompt.hidden),), guidance, device=prompt.hidden.device)
        cond = Conditioning(prompt.hidden, {**prompt.extra, "guidance": told})
        return lambda noisy, timesteps: self.denoise(noisy, timesteps, cond, {}).float()


def pack(latents: Tensor) -> Tensor:
    """[b, c, h, w] as [b, (h/2)(w/2), 4c], four neighbours a token."""
    count, channels, height, width = latents.shape
    cut = latents.view(count, channels, height // 2, 2, width // 2, 2)
    return cut.permute(0, 2, 4, 1, 3, 5).reshape(count, -1, channels * 4)


def unpack(tokens: Tensor, channels: int, height: int, width: int) -> Tensor:
    """The inverse of `pack`."""
    cut = tokens.view(len(tokens), height // 2, width // 2, channels, 2, 2)
    return cut.permute(0, 3, 1, 4, 2, 5).reshape(len(tokens), channels, height, width)


def new_vae() -> AutoencoderKL:
    """16 channels and a shift, as Stable Diffusion 3's and FLUX' have."""
    return AutoencoderKL(
        down_block_types=["DownEncoderBlock2D"] * 4,
        up_block_types=["UpDecoderBlock2D"] * 4,
        block_out_channels=[8] * 4,
        layers_per_block=1,
        latent_channels=16,
        norm_num_groups=4,
        scaling_factor=1.5305,
        shift_factor=0.0609,
        use_quant_conv=False,
        use_post_quant_conv=False,
    )


def new_text_encoder() -> nn.Module:
    """A CLIP text encoder with a projection."""
    size = len(vocabulary()[0])
    config = CLIPTextConfig(
        hidden_size=WIDTH,
        intermediate_size=2 * WIDTH,
        projection_dim=WIDTH,
        num_hidden_layers=3,
        num_attention_heads=4,
        vocab_size=size,
        max_position_embeddings=MAX_LENGTH,
        bos_token_id=size - 2,
        eos_token_id=size - 1,
    )
    net: nn.Module = CLIPTextModelWithProjection(config)
    return net
