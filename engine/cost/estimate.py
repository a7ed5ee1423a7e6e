"""What a run will cost in memory, disk and time, before it starts and without torch."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from engine.cost.counts import family_of
from engine.cost.disk import Amounts, Disk, cached, disks_of, preview_size, written
from engine.cost.machine import Machine
from engine.cost.model_size import ModelSize
from engine.cost.throughput import measured_throughput
from engine.dataset.report import DatasetReport
from engine.files import expanded
from engine.models.bases import BaseInfo
from engine.models.specs import FAMILIES
from engine.plan.optimizers import OPTIMIZERS
from engine.plan.schema import Plan
from engine.plan.units import duration, size_text
from engine.run.paths import cache_root, runs_root

GIB = 2**30

# Numbers in the outputs of all attention, feed-forward and convolution layers of SD 1.5, one picture, 512 px.
SD1_ELEMENTS = 235_332_160
# Saved activations of SD 1.5 LoRA at 512 px in bf16 with fused attention: 0.75 GiB a picture, 0.14 GiB with
# gradient checkpointing (counted with saved_tensors_hooks on the meta device). The rule that they grow with
# the layers' outputs gives SDXL's counted 5.22 GiB within 9 %.
ACTIVATION_BYTES = 0.75 * GIB / SD1_ELEMENTS
CHECKPOINTED_BYTES = 0.14 * GIB / SD1_ELEMENTS
# CUDA context, cuBLAS and cuDNN workspaces, allocator slack: an allowance, not a measurement.
CUDA_OVERHEAD = int(0.9 * GIB)
# Resident memory of Python with torch, diffusers, transformers and peft imported, measured on Linux.
PROCESS = 365 * 2**20
# The VAE decoder's widest maps: 256 channels at full picture size, three of them alive at once, fp32.
DECODE_BYTES_A_PIXEL = 3 * 256 * 4


@dataclass(frozen=True)
class Estimate:
    """All sizes in bytes. `vram_*` is main memory on a CPU; none means not known.

    `disk_free` is that of the disk with the least room for what it gets, which `disks` says disk by disk.
    """

    device: str
    vram_parts: Amounts
    vram_available: int | None
    disk_parts: Amounts
    disk_free: int | None
    disks: tuple[Disk, ...]
    seconds: float | None
    seconds_why: str
    notes: tuple[str, ...]

    @property
    def vram_total(self) -> int:
        """The forecast peak in bytes."""
        return sum(size for _, size in self.vram_parts)

    @property
    def disk_total(self) -> int:
        """The most that the run holds on disk at one time, in bytes."""
        return sum(size for _, size in self.disk_parts)

    def to_json(self) -> dict[str, Any]:
        """Plain data for `json.dumps`."""
        return {**asdict(self), "vram_total": self.vram_total, "disk_total": self.disk_total}

    def lines(self) -> list[str]:
        """A table for a terminal."""
        memory = "VRAM" if self.device != "cpu" else "memory"
        rows = [f"{memory} on {self.device}, forecast peak{_of(self.vram_available)}"]
        rows += _table((*self.vram_parts, ("total", self.vram_total)))
        for disk in self.disks:
            rows += [f"disk of {' and '.join(disk.paths)}{_of(disk.free, 'free')}"]
            rows += _table((*disk.parts, ("total", disk.total)))
        rows += [
            f"time: {duration(self.seconds)} ({self.seconds_why})"
            if self.seconds
            else f"time: {self.seconds_why}"
        ]
        return rows + [f"note: {note}" for note in self.notes]


def estimate(
    plan: Plan,
    base: BaseInfo | None,
    report: DatasetReport | None,
    machine: Machine,
    directory: Path | None = None,
) -> Estimate:
    """The forecast for a plan; where `base` or `report` is not known (none), a note says so.

    `directory` is the folder that the run is to have, by default one below runs_root().
    """
    model = ModelSize(plan, base)
    gpu = machine.gpu_for(plan.hardware.device)
    device = f"cuda:{gpu.index}" if gpu else "cuda" if plan.hardware.device.startswith("cuda") else "cpu"
    seconds, why = _time(plan)
    own, caches = written(plan, model), () if report is None else tuple(cached(plan, model, report))
    place = runs_root() if directory is None else expanded(directory).absolute()
    disks = disks_of(((place, own), (cache_root(), caches)))
    return Estimate(
        device=device,
        vram_parts=_memory(plan, model, device),
        vram_available=gpu.memory_total if gpu else machine.memory_total if device == "cpu" else None,
        disk_parts=(*own, *caches),
        disk_free=min(disks, key=lambda disk: math.inf if disk.free is None else disk.free - disk.total).free,
        disks=disks,
        seconds=seconds,
        seconds_why=why,
        notes=(
            *_amount(plan, report, seconds),
            *_notes(base, family_of(base, plan.base.family), report, device),
        ),
    )


def number_bytes(plan: Plan, device: str) -> int:
    """Bytes of one number of the frozen parts: fp32 on a CPU unless asked otherwise, else half of that."""
    precision = plan.train.precision
    if precision == "auto":
        return 4 if device == "cpu" else 2
    return 4 if precision == "fp32" else 2


def _memory(plan: Plan, model: ModelSize, device: str) -> Amounts:
    width = number_bytes(plan, device)
    activations = _activations(plan, model, width)
    preview = _preview(plan) if plan.samples.every else 0
    if not plan.caches_latents:
        preview = max(preview, plan.train.batch_size * plan.data.resolution**2 * DECODE_BYTES_A_PIXEL // 2)
    # With gradient checkpointing one block's at a time: little enough to leave out.
    changes = 0 if plan.hardware.gradient_checkpointing else width * model.changes
    trained = plan.train.weight_bytes * model.trainable
    gradients = trained * plan.hardware.gradients_held
    training = activations + changes + gradients
    parts = [
        (f"{model.spec.denoiser_title} weights, {8 * width} bit", model.frozen * width),
        (f"text encoder, {8 * width} bit", model.text_parameters * width),
        ("VAE, 32 bit", model.parameters["vae"] * 4),
        (f"trained weights ({model.trainable / 1e6:.2f} M), {8 * plan.train.weight_bytes} bit", trained),
        ("gradients", gradients),
        (f"{OPTIMIZERS[plan.optimizer.name].title} states", model.states),
        ("moving average", 4 * model.trainable if plan.train.ema else 0),
        # Whole parts are fp32, and autocast keeps a copy of their weights in the format it computes in.
        (
            "copies to compute with",
            width * model.trainable if model.whole and width < plan.train.weight_bytes else 0,
        ),
        ("activations", activations),
        ("whole changes of the adapted layers", changes),
        ("previews, beyond the training peak", max(0, preview - training)),
        ("CUDA context and workspaces", CUDA_OVERHEAD)
        if device != "cpu"
        else ("Python and libraries", PROCESS),
    ]
    return tuple((name, int(size)) for name, size in parts if size)


def _activations(plan: Plan, model: ModelSize, width: int) -> int:
    area = (plan.data.resolution / model.spec.downscale) ** 2
    elements = sum(layer.output_elements(int(area)) for layer in model.denoiser)
    each = CHECKPOINTED_BYTES if plan.hardware.gradient_checkpointing else ACTIVATION_BYTES
    total = elements * each * width / 2
    if plan.options.trains_text:
        # 34 s h bytes a layer in 16 bit without attention maps: Korthikanti et al. 2022, arXiv:2205.05198.
        total += 34 * 77 * model.text_widths * 2
    return int(total * plan.train.batch_size)


def _preview(plan: Plan) -> int:
    width, height = preview_size(plan)
    return width * height * DECODE_BYTES_A_PIXEL


def _time(plan: Plan) -> tuple[float | None, str]:
    speed = measured_throughput(plan)
    if speed is None:
        return None, "not known before the first steps; no earlier run on this machine is like this one"
    images = plan.train.steps * plan.train.batch_size * plan.train.gradient_accumulation
    why = (
        f"{speed.images_per_s:.3g} pictures a second in run {speed.run}; previews and checkpoints come on top"
    )
    return images / speed.images_per_s, why


def _amount(plan: Plan, report: DatasetReport | None, seconds: float | None) -> Iterable[str]:
    """What the method says that the run amounts to."""
    if report is None or not report.counts.images:
        return ()
    samples = plan.train.steps * plan.train.batch_size * plan.train.gradient_accumulation
    return plan.options.length_notes(samples, report.counts.images, seconds)


def _notes(base: BaseInfo | None, family: str, report: DatasetReport | None, device: str) -> Iterable[str]:
    yield "memory is computed, not measured: see the first minutes of the run for the real peak"
    if base is None or base.path is None:
        yield f"the base model is not on this machine: counted as {FAMILIES[family].title}"
    if report is None:
        yield "the data folder was not read: caches are not in the disk forecast"
    if device == "cuda":
        yield "the plan asks for CUDA, and no NVIDIA device answers here"


def _table(parts: Amounts) -> list[str]:
    return [f"  {name:<38} {size_text(size):>10}" for name, size in parts]


def _of(size: int | None, word: str = "there") -> str:
    return f" ({size_text(size)} {word})" if size is not None else ""
