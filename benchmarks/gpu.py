"""One command for a CUDA machine, with random weights: speed, MFU, memory, host syncs, kill and resume, as JSON.

`python -m benchmarks.gpu [--out FILE]` trains SD 1.5 at 512 px with LoRA in bf16 in under five minutes.
`--small` does the same on a CPU with a narrow UNet, to show that it works; what needs CUDA is null there.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from benchmarks.figures import machine, versions
from benchmarks.gpu_model import flops_per_image, lora_plan, make_feed, make_ready
from benchmarks.gpu_resume import killed_and_resumed
from engine.cost.gpus import peak_of
from engine.train.loop import Loop
from engine.train.setup import AdaptedModel, configure_torch
from engine.train.training import make_loop as engine_loop
from engine.train.watch import Watch

RESERVE_S = 110.0
"""What killed-and-resumed runs may take: kept free when more batch sizes are tried."""
SYNC_MARK = "called a synchronizing CUDA operation"


@dataclass(frozen=True)
class Size:
    """How much is measured."""

    small: bool
    side: int
    precision: str
    batches: tuple[int, ...]
    warm_up: int
    steps: int
    cap_s: float
    sync_steps: int
    resume: tuple[int, int, int]


FULL = Size(False, 512, "bf16", (1, 4, 8, 16, 32), 20, 100, 30.0, 50, (60, 10, 25))
SMALL = Size(True, 64, "fp32", (1, 2), 2, 4, 5.0, 4, (24, 4, 10))


class Notes(Watch):
    """Gathers the codes of warnings."""

    def __init__(self, said: list[str]) -> None:
        self.said = said

    def warning(self, code: str, text: str) -> None:
        self.said.append(code)


def make_loop(adapted: AdaptedModel, size: Size, batch: int, steps: int, said: list[str]) -> Loop:
    """The engine's loop on the prepared model with a fresh optimiser; `said` gathers its warnings."""
    plan = lora_plan(batch, steps, size.precision, adapted.device, size.side)
    return engine_loop(plan, adapted, make_feed(plan, adapted), Notes(said))


def throughput(adapted: AdaptedModel, size: Size, batch: int) -> dict[str, Any] | None:
    """Images per second and peak memory at one batch size; None when it does not fit."""
    cuda = adapted.device.type == "cuda"
    said: list[str] = []
    loop = make_loop(adapted, size, batch, size.warm_up + size.steps, said)
    began, done, elapsed, skipped, loss = 0.0, 0, 0.0, 0, 0.0
    try:
        for group in loop.run(0, lambda step: step == size.warm_up):
            if "batch-split" in said:
                return None
            now = time.perf_counter()
            loss, skipped = group[-1].loss, skipped + sum(report.skipped for report in group)
            if group[-1].step == size.warm_up:
                if cuda:
                    torch.cuda.reset_peak_memory_stats()
                began = time.perf_counter()
            elif group[-1].step > size.warm_up:
                # A group is handed out after its numbers were read: the device has finished its steps.
                done, elapsed = done + len(group), now - began
                if elapsed > size.cap_s:
                    break
    except torch.OutOfMemoryError:
        return None
    return {
        "batch": batch,
        "steps": done,
        "seconds": elapsed,
        "images_per_s": done * batch / elapsed,
        "loss": loss,
        "skipped": skipped,
        "peak_reserved_bytes": torch.cuda.max_memory_reserved() if cuda else None,
        "peak_allocated_bytes": torch.cuda.max_memory_allocated() if cuda else None,
    }


def host_syncs(adapted: AdaptedModel, size: Size) -> dict[str, Any] | None:
    """How often the host waits for the device within steps that are not reported; None without CUDA.

    The first step and its report come before; the one read at the end of the group is counted apart.
    """
    if adapted.device.type != "cuda":
        return None
    loop = make_loop(adapted, size, 1, size.sync_steps + 1, [])
    loop.report_every_s = float("inf")
    groups = loop.run(0, lambda step: False)
    next(groups)
    torch.cuda.synchronize()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        try:
            (group,) = groups
        finally:
            torch.cuda.set_sync_debug_mode("default")
    found = [item for item in caught if SYNC_MARK in str(item.message)]
    where = Counter(f"{Path(item.filename).name}:{item.lineno}" for item in found)
    return {
        "steps": len(group),
        "syncs": len(found),
        "reads_of_reports": 1,
        "per_step": max(0, len(found) - 1) / len(group),
        "where": dict(where),
    }


def speed(size: Size, device: torch.device, deadline: float) -> dict[str, Any]:
    """All batch sizes that fit in memory and time, the count of operations, and the syncs."""
    said("counting operations")
    flops = flops_per_image(size.small, size.side)
    peak = peak_of(torch.cuda.get_device_name(device)) if device.type == "cuda" else None
    plan = lora_plan(1, 1, size.precision, device, size.side)
    configure_torch(plan, device)
    said("building the model")
    adapted = make_ready(plan, size.small, device)
    rows: list[dict[str, Any]] = []
    for batch in size.batches:
        if time.monotonic() > deadline:
            said("no time is left for larger batches")
            break
        row = throughput(adapted, size, batch)
        if device.type == "cuda":
            torch.cuda.empty_cache()
        if row is None:
            said(f"batch {batch} does not fit")
            break
        row["mfu"] = None if peak is None else flops * row["images_per_s"] / peak.flops
        rows.append(row)
        said(f"batch {batch}: {row['images_per_s']:.2f} images/s")
    return {
        "model": "narrow UNet of SD 1.x's layout" if size.small else "SD 1.5 UNet, random weights",
        "resolution": size.side,
        "method": "lora, rank 16, attention",
        "precision": size.precision,
        "trainable_parameters": sum(item.parameter.numel() for item in adapted.trainables),
        "flops_per_image": flops,
        "peak_flops": None if peak is None else peak.flops,
        "peak_source": None if peak is None else peak.source,
        "throughput": rows,
        "host_syncs": host_syncs(adapted, size),
    }


def measure(
    size: Size, device: torch.device, budget_s: float, keep: Callable[[dict[str, Any]], None]
) -> dict[str, Any]:
    """Everything, as one table for JSON; `keep` gets it before the runs that are killed too, which may be slow."""
    began = time.monotonic()
    result: dict[str, Any] = {
        "small": size.small,
        "device": torch.cuda.get_device_name(device)
        if device.type == "cuda"
        else platform.processor() or "cpu",
        "cuda": torch.version.cuda if device.type == "cuda" else None,
        "machine": machine(),
        "versions": versions(),
        **speed(size, device, began + budget_s - RESERVE_S),
    }
    keep(result)
    said("a run that is killed and one that is not")
    if device.type == "cuda":
        torch.cuda.empty_cache()
    steps, every, kill_after = size.resume
    result["resume"] = killed_and_resumed(str(device), size.precision, steps, every, kill_after)
    result["seconds"] = time.monotonic() - began
    return result


def said(text: str) -> None:
    """Progress goes to stderr: stdout is the JSON's."""
    print(text, file=sys.stderr, flush=True)


def main(arguments: list[str]) -> int:
    """The command."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gpu", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--small", action="store_true", help="on a CPU with a narrow UNet, in seconds")
    parser.add_argument("--out", type=Path, metavar="FILE", help="write the JSON there instead of stdout")
    parser.add_argument(
        "--budget", type=float, default=280.0, metavar="SECONDS", help="stay below this (280)"
    )
    args = parser.parse_args(arguments)
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    if not args.small and not torch.cuda.is_available():
        said("torch sees no CUDA device here; `--small` shows on a CPU that the measure works")
        return 2
    size, device = (SMALL, torch.device("cpu")) if args.small else (FULL, torch.device("cuda:0"))

    def keep(result: dict[str, Any]) -> None:
        if args.out is not None:
            args.out.write_text(json.dumps(result, indent=1) + "\n")

    result = measure(size, device, args.budget, keep)
    keep(result)
    if args.out is None:
        sys.stdout.write(json.dumps(result, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
