"""What lies on the device, part by part and phase by phase; the forecast is the phase that needs most.

An option that saves memory changes the part that it is about: its size, or the phases in which it is there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

from engine.cost.block_swap import swapped
from engine.cost.model_size import ModelSize
from engine.cost.quantity import Scale
from engine.cost.traced_plan import highest
from engine.cost.traced_rows import Found, find, plan_rank
from engine.cost.traced_step import GRADIENTS
from engine.models.layers import Layer
from engine.plan.optimizers import OPTIMIZERS
from engine.plan.schema import Plan

Phase = Literal["pictures", "captions", "training", "prompts", "previews", "export"]
TITLES: dict[Phase, str] = {
    "pictures": "encoding pictures",
    "captions": "encoding captions",
    "training": "training",
    "prompts": "encoding prompts",
    "previews": "previews",
    "export": "export",
}
PHASES: tuple[Phase, ...] = tuple(TITLES)
CACHING: tuple[Phase, ...] = ("pictures", "captions")
AFTER: tuple[Phase, ...] = PHASES[2:]
"""Once the caches are made."""

# CUDA context, cuBLAS and cuDNN workspaces, allocator slack: an allowance, not a measurement.
CUDA_OVERHEAD = int(0.9 * 2**30)
# Resident memory of Python with torch, diffusers, transformers and peft imported, measured on Linux.
PROCESS = 365 * 2**20
# Bytes of a weight of a linear layer by hardware.base_weights.
BASE_WEIGHTS = {"int8": 1.0, "fp8": 1.0, "nf4": 0.56}
# Bytes a number that an export holds at its peak, beyond the model itself, counted on the built-in model: of what was
# trained alone, and of a whole model that trained (in 16 and 32 bit) or that an adapter is merged into.
ALONE, WHOLE_16, WHOLE_32, MERGED = 6, 9, 10.5, 6
TILE = 512
"""The side in pixels of the tiles that hardware.vae_tiling makes (engine.train.tiles)."""


# The share of activations that hardware.offload_activations moves away, without gradient checkpointing and with it: the
# rest are small ones, and those at work. Counted: docs/benchmarks.md.
OFFLOADED = {False: 0.9, True: 0.5}


@dataclass(frozen=True)
class Part:
    """Bytes on the device in some phases."""

    name: str
    size: float
    phases: tuple[Phase, ...] = PHASES


@dataclass(frozen=True)
class Setting:
    """What the parts are worked out from. `places` are the places of the largest picture's latents (h w); `preview`
    those of a preview's."""

    plan: Plan
    model: ModelSize
    gpu: bool
    half: bool
    places: float
    preview: float

    @cached_property
    def found(self) -> Found:
        """The trace of the plan's kind."""
        return find(self.plan, self.model, self.half)

    @property
    def width(self) -> int:
        """Bytes of one number of the frozen parts."""
        return 2 if self.half else 4

    @property
    def trained(self) -> int:
        """Bytes of what trains, or of its gradients."""
        return self.plan.train.weight_bytes * self.model.trainable

    @property
    def scale(self) -> Scale:
        """Of a step: as many pictures at once as the plan says."""
        return Scale(self.plan.train.batch_size, self.places, plan_rank(self.plan))

    @property
    def idle(self) -> bool:
        """Do parts that no update needs leave the device?"""
        choice = self.plan.hardware.idle_parts
        return choice == "cpu" or (choice == "auto" and self.gpu)

    @property
    def adds_up(self) -> bool:
        """Are there gradients of earlier batches while a later one of the step is computed?"""
        data = self.plan.data
        return self.plan.train.gradient_accumulation > 1 or data.class_pictures

    @property
    def held(self) -> float | None:
        """Bytes of gradients that are there all along; none where they appear one after the other."""
        return float(self.trained) if self.adds_up else None

    @property
    def late(self) -> tuple[Phase, ...]:
        """The phases of what is there once the caches are made; a plan with stages makes them all along."""
        return PHASES if self.plan.options.stages_of_resolution or not self.idle else AFTER


def _denoiser(at: Setting) -> Iterator[Part]:
    kept = at.plan.hardware.base_weights if at.model.frozen else "full"
    linear = min(
        at.model.frozen, sum(layer.inputs * layer.outputs for layer in at.model.denoiser if _linear(layer))
    )
    size = at.model.frozen * at.width - linear * (at.width - BASE_WEIGHTS.get(kept, at.width))
    bits = f"{8 * at.width} bit" if kept == "full" else f"linear layers {kept}"
    if at.model.frozen:
        each = BASE_WEIGHTS.get(kept, at.width)
        size -= swapped(at.plan, at.model.denoiser, lambda layer: each if _linear(layer) else at.width)
    yield Part(f"{at.model.spec.denoiser_title} weights, {bits}", size, at.late)


def _linear(layer: Layer) -> bool:
    return layer.kernel == 1 and layer.role != "conv"


def _text_encoders(at: Setting) -> Iterator[Part]:
    stays = not at.idle or not at.plan.caches_text
    phases: tuple[Phase, ...] = PHASES if stays else ("captions", "prompts")
    yield Part(f"text encoder, {8 * at.width} bit", at.model.text_parameters * at.width, phases)


def _vae(at: Setting) -> Iterator[Part]:
    stays = not at.idle or not at.plan.caches_latents
    phases: tuple[Phase, ...] = PHASES if stays else ("pictures", "previews")
    yield Part("VAE, 32 bit", at.model.parameters["vae"] * 4, phases)


def _trained(at: Setting) -> Iterator[Part]:
    bits = 8 * at.plan.train.weight_bytes
    yield Part(f"trained weights ({at.model.trainable / 1e6:.2f} M), {bits} bit", at.trained, at.late)


def _optimizer(at: Setting) -> Iterator[Part]:
    yield Part(f"{OPTIMIZERS[at.plan.optimizer.name].title} states", at.model.states, AFTER)


def _average(at: Setting) -> Iterator[Part]:
    yield Part("moving average", 4 * at.model.trainable if at.plan.train.ema else 0, AFTER)


def _step(at: Setting) -> Iterator[Part]:
    """The end of the forward pass or the peak of the backward pass, whichever is higher."""
    narrow = at.plan.train.weight_bytes == 2
    # Weights that lie in the format that is computed in are not copied.
    hardware = at.plan.hardware
    stays = 1 - OFFLOADED[hardware.gradient_checkpointing] if hardware.offload_activations else 1.0
    factors = {
        GRADIENTS: 0.5 if narrow else 1.0,
        "copies": 0.0 if narrow and at.half else 1.0,
        "activations": stays,
    }
    step, share = at.found.traced.step, at.plan.hardware.gradients_held
    phase, kinds = step.peak(at.scale, factors, at.held)
    if share < 1:
        # At each moment at most this share is there, and never more than where nothing is freed.
        freed = step.peak(at.scale, factors, at.trained * share)
        phase, kinds = min((phase, kinds), freed, key=lambda found: sum(found[1].values()))
    where = f"at the peak of the {phase} pass"
    titles = {"activations": f"activations {where}", GRADIENTS: f"gradients {where}", "copies": COPIES}
    for kind, title in titles.items():
        yield Part(title, kinds.get(kind, 0), ("training",))


def _live_pictures(at: Setting) -> Iterator[Part]:
    """Where latents are not cached, pictures are encoded at the start of each batch, one at a time; what is more than
    the step's own peak counts."""
    size = sum(highest(at.found.traced.encoding, Scale(1, _tiled(at, at.places, "both"))).values())
    yield Part("activations of the VAE", size, ("pictures",))
    if not at.plan.caches_latents:
        step = sum(part.size for part in _step(at)) - (at.held or 0)
        yield Part("encoding pictures, beyond that", max(0, size - step), ("training",))


def _previews(at: Setting) -> Iterator[Part]:
    if not at.plan.samples.every:
        return
    size = highest(at.found.traced.decoding, Scale(1, _tiled(at, at.preview, "decode")))
    yield Part("activations of the VAE", sum(size.values()), ("previews",))
    # One autocast context spans a whole picture.
    copied = at.half and at.plan.train.weight_bytes == 4
    yield Part(COPIES, 2 * at.model.trainable if copied else 0, ("prompts", "previews"))


def _export(at: Setting) -> Iterator[Part]:
    """What is written is put together in the CPU's memory."""
    if at.gpu:
        return
    whole, output = sum(at.model.parameters.values()), at.plan.output
    if at.model.whole:
        size = (WHOLE_32 if output.dtype == "fp32" else WHOLE_16) * whole
    elif "merged" in (output.formats or ()):
        size = MERGED * whole
    else:
        size = ALONE * at.model.trainable
    yield Part("what is exported, in 32 bit and as it is written", size, ("export",))


def _clip(at: Setting) -> Iterator[Part]:
    """What compares previews lies in the CPU's memory, in 32 bit."""
    if at.plan.samples.clip and not at.gpu:
        files = Path(at.plan.samples.clip).expanduser().glob("*.safetensors")
        yield Part("the CLIP model that compares previews", sum(file.stat().st_size for file in files))


def _process(at: Setting) -> Iterator[Part]:
    if at.gpu:
        yield Part("CUDA context and workspaces, an allowance", CUDA_OVERHEAD)
    else:
        yield Part("Python and libraries", PROCESS)


COPIES = "copies of trained weights to compute with"
PARTS: tuple[Callable[[Setting], Iterator[Part]], ...] = (
    _denoiser,
    _text_encoders,
    _vae,
    _trained,
    _optimizer,
    _average,
    _step,
    _live_pictures,
    _previews,
    _export,
    _clip,
    _process,
)


def _tiled(at: Setting, places: float, what: str) -> float:
    """Places that go through the VAE at once."""
    tiling = at.plan.hardware.vae_tiling
    asked = tiling == "both" or tiling == what
    return min(places, (TILE / at.model.spec.downscale) ** 2) if asked else places


def parts_of(setting: Setting) -> list[Part]:
    """Every part that takes anything."""
    return [part for make in PARTS for part in make(setting) if part.size >= 1]


def totals(parts: list[Part]) -> dict[Phase, int]:
    """The peak of each phase that has something of its own."""
    named = {phase for part in parts for phase in part.phases if part.phases != PHASES}
    return {
        phase: int(sum(part.size for part in parts if phase in part.phases))
        for phase in PHASES
        if phase in named or phase == "training"
    }
