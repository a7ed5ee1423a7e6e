"""From a plan to a loaded, adapted model on its device, every part in the dtype that it needs."""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from engine.cost.machine import half_format
from engine.dataset.captions import MAX_TOKENS
from engine.errors import UserError
from engine.families.base import ModelFamily
from engine.families.clip_text import TextReading
from engine.families.load import load_family
from engine.installing import hub_download
from engine.methods.base import Method, Trainable
from engine.methods.registry import make_method
from engine.models.bases import locate
from engine.plan.schema import Plan
from engine.train.autoencoder import VAE, Autoencoder, Warn, unheard
from engine.train.checkpointing import keep_checkpointed
from engine.train.direct_forward import shorten
from engine.train.idle_parts import IdleParts
from engine.train.offload import Offload

DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}


@dataclass(frozen=True)
class AdaptedModel:
    """A model with the method's modules in it. `autocast` none means plain fp32."""

    family: ModelFamily
    method: Method
    trainables: Sequence[Trainable]
    device: torch.device
    precision: str
    autocast: torch.dtype | None
    idle: IdleParts
    autoencoder: Autoencoder
    offload: Offload


def choose_device(name: str) -> torch.device:
    """The device a plan asks for; auto is the first CUDA device, or else the CPU."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    device = torch.device(name)
    if device.type == "cuda":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if (device.index or 0) >= count:
            raise UserError(
                f"hardware.device: {name} is not there",
                f"torch sees {count} CUDA devices",
                'run `sdtrain doctor`, or set hardware.device = "auto"',
            )
    return device


def choose_precision(name: str, device: torch.device) -> str:
    """auto: bf16 where the GPU itself computes with it, else fp16; fp32 on a CPU, where half formats are slower."""
    if name != "auto":
        return name
    if device.type == "cpu":
        return "fp32"
    # torch.cuda.is_bf16_supported says yes to emulation, and asks the current device, which may be another.
    return half_format(torch.cuda.get_device_capability(device))


def configure_torch(plan: Plan, device: torch.device) -> None:
    """Process-wide switches: threads, TF32, determinism."""
    if plan.hardware.threads:
        torch.set_num_threads(plan.hardware.threads)
    if device.type == "cuda":
        torch.backends.cuda.matmul.allow_tf32 = True
        torch.backends.cudnn.allow_tf32 = True
        torch.backends.cudnn.benchmark = not plan.hardware.deterministic
    if plan.hardware.deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True)


def load_plan_family(plan: Plan) -> ModelFamily:
    """The plan's base model on the CPU."""
    base = locate(plan.base.model, allow_download=plan.base.allow_download)
    if base.path is None:
        raise UserError(
            f"{plan.base.model} is not on this machine",
            "it is downloaded when a training is opened",
            f"download it before: {hub_download(plan.base.model)}",
        )
    prediction = None if plan.base.prediction == "auto" else plan.base.prediction
    return as_planned(plan, load_family(base.path, plan.base.tokenizer, plan.base.vae, prediction))


def as_planned(plan: Plan, family: ModelFamily) -> ModelFamily:
    """The family, which from here on reads captions and prompts as the plan says, down to no signal if it asks."""
    family.reading = TextReading(plan.captions.max_tokens // MAX_TOKENS, plan.base.clip_skip)
    if plan.base.zero_terminal_snr:
        family.predict(family.schedule.prediction, True)
    return family


def prepare(plan: Plan, family: ModelFamily, device: torch.device, warn: Warn = unheard) -> AdaptedModel:
    """Inject the method, then decide dtypes: what trains has the plan's (fp32), what is frozen the compute dtype.

    The VAE stays fp32: its fp16 activations overflow on SDXL, and it runs only for caching and previews. Of the parts
    only those that make the caches are on the device afterwards, or come there by themselves; `engine.train.settling`
    moves the rest.
    """
    method = make_method(plan)
    as_planned(plan, family)
    precision = choose_precision(plan.train.precision, device)
    compute = DTYPES[precision]
    trainables = method.prepare(family)
    training = {id(item.parameter) for item in trainables}
    for name, part in family.parts.items():
        part.requires_grad_(False)
        _cast(part, torch.float32 if name == VAE else compute, training)
        part.train(any(id(value) in training for value in part.parameters()))
        shorten(part)
    for module in method.modules().values():
        module.float().train()
        shorten(module)
    for item in trainables:
        item.parameter.data = item.parameter.data.to(DTYPES[plan.train.weights])
        item.parameter.requires_grad_(True)
    if plan.hardware.gradient_checkpointing:
        family.enable_gradient_checkpointing()
        if plan.hardware.checkpointed_blocks:
            keep_checkpointed(family.denoiser, plan.hardware.checkpointed_blocks)
    choice = plan.hardware.idle_parts
    leave = choice == "cpu" or (choice == "auto" and device.type != "cpu")
    idle = IdleParts(family.parts, idle_names(plan, family) if leave else (), device)
    for name in (VAE, *family.spec.text_parts):
        if name not in idle.names and not family.parts[name].training:
            family.parts[name].to(device)
    return AdaptedModel(
        family,
        method,
        trainables,
        device,
        precision,
        None if precision == "fp32" else compute,
        idle,
        Autoencoder(family, idle, device, plan.hardware.vae_tiling, warn),
        Offload(device),
    )


def idle_names(plan: Plan, family: ModelFamily) -> set[str]:
    """The parts that no update needs once the caches are made."""
    names = {VAE} if plan.caches_latents else set()
    if plan.caches_text:
        names |= {name for name in family.spec.text_parts if not family.parts[name].training}
    return names


def _cast(part: nn.Module, dtype: torch.dtype, training: Collection[int]) -> None:
    # What trains is left out: on its way to fp32 it would lose the digits that the compute dtype has no place for.
    for value in (*part.parameters(), *part.buffers()):
        if value.is_floating_point() and id(value) not in training:
            value.data = value.data.to(dtype)


def parameter_table(trainables: Sequence[Trainable]) -> dict[str, tuple[int, int]]:
    """For each module that trains: (parameters, tensors)."""
    table: dict[str, tuple[int, int]] = {}
    for item in trainables:
        count, tensors = table.get(item.module, (0, 0))
        table[item.module] = (count + item.parameter.numel(), tensors + 1)
    return table
