"""What a run will write, and how much room there is on each of the file systems it is written to."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from engine.cost.machine import disk_free, disk_of
from engine.cost.model_size import ModelSize
from engine.dataset.captions import chunks
from engine.dataset.report import DatasetReport
from engine.plan.schema import Plan

Amounts = tuple[tuple[str, int], ...]


@dataclass(frozen=True)
class Disk:
    """What is written on one file system: `paths` are the folders that lie there, `parts` what goes into them."""

    paths: tuple[str, ...]
    parts: Amounts
    free: int | None

    @property
    def total(self) -> int:
        """Bytes of all parts."""
        return sum(size for _, size in self.parts)


def preview_size(plan: Plan) -> tuple[int, int]:
    """Width and height of a preview in pixels."""
    return plan.samples.width or plan.data.resolution, plan.samples.height or plan.data.resolution


def disks_of(places: Iterable[tuple[Path, Amounts]]) -> tuple[Disk, ...]:
    """One entry a file system, in the order of the places."""
    found: dict[int | str, Disk] = {}
    for path, parts in places:
        number = disk_of(path)
        key = str(path) if number is None else number
        known = found.get(key, Disk((), (), disk_free(path)))
        if parts or not known.paths:
            found[key] = Disk((*known.paths, str(path)), (*known.parts, *parts), known.free)
    return tuple(disk for disk in found.values() if disk.parts) or tuple(found.values())[:1]


def written(plan: Plan, model: ModelSize) -> Amounts:
    """What a run writes below its own folder: checkpoints, exports and previews."""
    state = model.trainable * (plan.train.weight_bytes + (4 if plan.train.ema else 0)) + model.states
    keep = plan.checkpoints.keep or max(1, -(-plan.train.steps // max(1, plan.checkpoints.every)))
    best = int(plan.validation.every > 0 and plan.validation.keep_best and plan.checkpoints.keep > 0)
    copies = 2 if plan.train.ema and plan.output.weights == "both" else 1
    # Exports stay when their checkpoint is removed; the last step's have the plain name beside.
    every = plan.checkpoints.every or plan.train.steps
    copies *= 1 + (-(-plan.train.steps // every) if plan.checkpoints.export_each else 0)
    export = sum(file_sizes(plan, model))
    exports = copies * len(plan.export_formats)
    parts: list[tuple[str, int]] = [
        # One more than is kept: the new one is whole before the oldest is removed.
        (
            f"checkpoints ({keep} kept{', 1 the best' if best else ''}, 1 being written)",
            state * (keep + best + 1),
        ),
        (f"exported files ({exports})", export * copies),
        ("previews", _sample_bytes(plan)),
    ]
    return tuple((name, size) for name, size in parts if size)


def file_sizes(plan: Plan, model: ModelSize) -> tuple[int, ...]:
    """Bytes of one exported file of each of the plan's formats."""
    whole = sum(model.parameters.values())
    numbers = (whole if model.whole or name == "merged" else model.trainable for name in plan.export_formats)
    return tuple(number * (4 if plan.output.dtype == "fp32" else 2) for number in numbers)


def _sample_bytes(plan: Plan) -> int:
    if not plan.samples.every:
        return 0
    width, height = preview_size(plan)
    prompts = len(plan.samples.prompts) or plan.samples.count
    rounds = plan.train.steps // plan.samples.every + (1 if plan.samples.at_start else 0)
    # A PNG of a photograph takes about 1.6 bytes a pixel; the thumbnail about 12 kB.
    return int(rounds * prompts * (width * height * 1.6 + 12_000))


def cached(plan: Plan, model: ModelSize, report: DatasetReport) -> list[tuple[str, int]]:
    """What goes into the cache: encoded pictures and captions."""
    parts: list[tuple[str, int]] = []
    if plan.caches_latents:
        fold, channels = model.spec.downscale, model.spec.latent_channels
        areas = ((w // fold) * (h // fold) * count for (w, h), count in report.buckets.items())
        latents = channels * sum(areas)
        mirrored = any(each.flip for each in plan.data.picture_sets)
        # Resolution stages keep latents of their own; the last one has the plan's resolution.
        sides = {stage.side for stage in plan.options.stages_of_resolution} or {plan.data.resolution}
        stages = sum((side / plan.data.resolution) ** 2 for side in sides)
        # Mean and standard deviation, 32 bit, and the mirrored picture's own where flips are asked for.
        parts.append(("cached latents", int(latents * 2 * 4 * (2 if mirrored else 1) * stages)))
    if plan.caches_text:
        texts = {"", *(item.caption for item in report.items)}
        count = sum(chunks(text, plan.captions.max_tokens) for text in texts)
        parts.append(("cached captions", count * 77 * model.text_width * 4))
    return parts
