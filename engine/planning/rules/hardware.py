"""Rules about the device, its memory, the disk, and the output files."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec

from engine.cost.disk import Disk
from engine.cost.machine import BF16_FROM
from engine.installing import pip_install
from engine.plan.methods import METHODS
from engine.plan.problems import Problem, warning
from engine.plan.units import size_text
from engine.planning.rules.context import Context, Rule

BITSANDBYTES = "bitsandbytes>=0.50,<0.51"

# Leave this share of the free disk to everything else.
DISK_SHARE = 0.9


def device(ctx: Context) -> Iterator[Problem]:
    asked, gpus = ctx.plan.hardware.device, ctx.machine.gpus
    if asked.startswith("cuda") and ctx.gpu is None:
        what = f"{asked} is not there"
        why = (
            ctx.machine.reason
            or f"{len(gpus)} NVIDIA devices are there, and CUDA_VISIBLE_DEVICES may hide some"
        )
        yield Problem("hardware.device", what, why, 'set it to "auto", and see `sdtrain doctor`')
    elif asked == "auto" and ctx.on_cpu and not ctx.tiny:
        why = f"{ctx.machine.reason}; a step of a full-size model takes minutes on a CPU"
        yield warning(
            "hardware.device", "it will train on the CPU", why, "run it on a machine with an NVIDIA card"
        )


def precision(ctx: Context) -> Iterator[Problem]:
    asked = ctx.plan.train.precision
    if asked == "fp16" and ctx.on_cpu:
        why = "half-precision sums overflow, and CPUs have no fast fp16"
        yield Problem("train.precision", "fp16 does not work on a CPU", why, 'set "auto" or "fp32"')
    if asked == "bf16" and ctx.gpu is not None and (0, 0) < ctx.gpu.capability < BF16_FROM:
        major, minor = ctx.gpu.capability
        why = f"{ctx.gpu.name} has compute capability {major}.{minor}, below {BF16_FROM[0]}.{BF16_FROM[1]}"
        yield warning("train.precision", "bf16 is slow on this card", why, 'set "auto" or "fp16"')


def threads(ctx: Context) -> Iterator[Problem]:
    asked = ctx.plan.hardware.threads
    if asked > ctx.machine.cpus:
        why = "threads that share a core wait for one another"
        yield warning("hardware.threads", f"{asked} threads on {ctx.machine.cpus} cores", why, "set 0")


def disk(ctx: Context) -> Iterator[Problem]:
    for each in ctx.estimate.disks:
        yield from _one_disk(each)


def _one_disk(disk: Disk) -> Iterator[Problem]:
    cost, free = disk.total, disk.free
    if free is None or cost <= free * DISK_SHARE:
        return
    largest = max(disk.parts, key=lambda part: part[1])
    key = {"previews": "samples.every", "cached": "data.path"}.get(largest[0].split()[0], "checkpoints.keep")
    place = " and ".join(disk.paths)
    what = f"the run would write about {size_text(cost)}, and {size_text(free)} are free at {place}"
    why = f"most of it is {largest[0]}: {size_text(largest[1])}"
    fix = "free some space, set SDTRAIN_HOME (runs and cache) or --dir to a larger disk, or keep less"
    if cost > free:
        yield Problem(key, what, why, fix)
    else:
        yield warning(key, what, why, fix)


def file_name(ctx: Context) -> Iterator[Problem]:
    name = ctx.plan.output.file_name
    if name and (any(mark in name for mark in "/\\\0:,<>") or name.startswith(".") or len(name) > 100):
        why = "it is the stem of a file in the run's own export folder, and a name in prompts: <lora:NAME:1>"
        yield Problem(
            "output.file_name", f"{name!r} is no file name", why, "use letters, digits, dash and underscore"
        )


def base_weights(ctx: Context) -> Iterator[Problem]:
    kind, key = ctx.plan.hardware.base_weights, "hardware.base_weights"
    if kind == "full":
        return
    if ctx.family is not None and ctx.family.denoiser in ctx.plan.options.whole_parts(ctx.family):
        what = f"{kind} does not go with {ctx.spec.title}"
        why = "it trains these weights themselves, and an update is far smaller than a step of so few bits"
        other = f", or train a {METHODS[ctx.spec.lighter].title}" if ctx.spec.lighter else ""
        yield Problem(key, what, why, f'set it to "full"{other}')
    if kind == "nf4" and find_spec("bitsandbytes") is None:
        fix = f'{pip_install(BITSANDBYTES)}, or set it to "int8", which needs no package'
        yield Problem(key, "nf4 cannot be used here", "the package bitsandbytes is not installed", fix)


def checkpointed_blocks(ctx: Context) -> Iterator[Problem]:
    hardware = ctx.plan.hardware
    if hardware.checkpointed_blocks and not hardware.gradient_checkpointing:
        key, what = "hardware.checkpointed_blocks", "has no effect"
        fix = "set hardware.gradient_checkpointing = true, or leave it out"
        yield Problem(key, what, "hardware.gradient_checkpointing is off", fix)


def offload(ctx: Context) -> Iterator[Problem]:
    hardware = ctx.plan.hardware
    if (
        hardware.swapped_blocks
        and ctx.family
        and ctx.family.denoiser in ctx.plan.options.whole_parts(ctx.family)
    ):
        why = "blocks that come for their turn are only read, and each update would have to be written back"
        fix = "set 0, and save memory with gradient checkpointing, a smaller batch or an optimiser with less state"
        yield Problem("hardware.swapped_blocks", f"does not go with {ctx.spec.title}", why, fix)
    for name in ("swapped_blocks", "offload_activations"):
        if getattr(hardware, name) and hardware.compile:
            why = "compiled code holds the weights and activations that it was made with"
            yield Problem(
                f"hardware.{name}", "does not go with hardware.compile", why, "turn one of them off"
            )


RULES: tuple[Rule, ...] = (
    device,
    precision,
    threads,
    disk,
    file_name,
    base_weights,
    checkpointed_blocks,
    offload,
)
