"""The plan's table [hardware]: where a run computes, and what it does to need less memory."""

from __future__ import annotations

from typing import Literal

from engine.plan.fields import Section, option

# The most of a model's gradients that are in memory at once, counted on the meta device for the UNet of Stable
# Diffusion 1.5 (SDXL's takes 0.012 and 0.18): the largest weight, or the groups that are not complete.
HELD = {"off": 1.0, "weights": 0.035, "groups": 0.21}


ELSEWHERE = "what is learned stays the same, but for the last bits on another device"


class Hardware(Section):
    """Where and how thriftily it runs."""

    device: str = option(
        "auto", "auto, cpu, cuda or cuda:N", pattern=r"^(auto|cpu|cuda(:[0-9]{1,3})?)$", on_resume=ELSEWHERE
    )
    fit: Literal["auto", "off"] = option(
        "auto",
        "save memory as far as the card asks for it, the cheapest first: a new plan by whatever makes it fit, a run "
        "whose memory runs out by what leaves its result as it is",
        advanced=True,
        on_resume=ELSEWHERE,
    )
    gradient_checkpointing: bool = option(False, "less VRAM for about 30 % more time", on_resume=ELSEWHERE)
    base_weights: Literal["full", "int8", "fp8", "nf4"] = option(
        "full",
        "keep the linear layers of a denoiser that does not train in fewer bits: a weight takes 1 byte (int8, fp8) or "
        "0.56 (nf4) and not 2; steps are slower, and predictions move a little, which is measured at the start",
        advanced=True,
    )
    idle_parts: Literal["auto", "keep", "cpu"] = option(
        "auto",
        "where frozen text encoders and the VAE wait while they are not used: keep them on the device, or in the CPU's "
        "memory, from which previews fetch them; auto: cpu where the device is a GPU",
        advanced=True,
        on_resume=ELSEWHERE,
    )
    vae_tiling: Literal["auto", "off", "decode", "both"] = option(
        "auto",
        "work through large pictures in tiles of 512 px with blended seams: decode for previews, both for training "
        "pictures too; auto: whole, and previews in tiles where memory runs out",
        advanced=True,
    )
    checkpointed_blocks: int = option(
        0,
        "with gradient_checkpointing: how many of the denoiser's blocks (SD 1.x 9, SDXL 7) are checkpointed, those at "
        "the highest resolution first; 0 is all",
        ge=0,
        le=1000,
        advanced=True,
        on_resume=ELSEWHERE,
    )
    swapped_blocks: int = option(
        0,
        "so many of the largest blocks of a denoiser that does not train live in the CPU's memory and come for their "
        "turn; every step then copies them twice",
        ge=0,
        le=1000,
        advanced=True,
        on_resume=ELSEWHERE,
    )
    offload_activations: bool = option(
        False,
        "keep what the backward pass needs in the CPU's memory meanwhile; every step then copies it there and back",
        advanced=True,
        on_resume=ELSEWHERE,
    )
    fused_backward: Literal["off", "weights", "groups"] = option(
        "off",
        "change weights during the backward pass and free their gradients at once: each weight by itself, or groups of "
        "weights, whose gradients can be clipped",
        advanced=True,
    )
    threads: int = option(
        0, "CPU threads; 0 lets torch decide", ge=0, le=1024, advanced=True, on_resume=ELSEWHERE
    )
    channels_last: bool = option(True, "convolution layout that tensor cores like (CUDA only)", advanced=True)
    compile: bool = option(False, "torch.compile the denoiser (slow first step)", advanced=True)
    deterministic: bool = option(
        False, "only deterministic CUDA kernels, for bit-equal repeats", advanced=True
    )

    @property
    def gradients_held(self) -> float:
        """The share of a whole model's gradients that is in memory at once."""
        return HELD[self.fused_backward]
