"""Class pictures for prior preservation: the user's own, and what is missing drawn by the untouched base model."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import torch
from torch import Tensor

from engine import draws
from engine.dataset.report import Item
from engine.errors import UserError
from engine.families.base import Geometry
from engine.files import write_atomic
from engine.keys import key
from engine.plan.schema import Plan
from engine.planning.data import scan_classes, scan_folder
from engine.train.autoencoder import VAE, Autoencoder, Warn, unheard
from engine.train.exporting import base_hash
from engine.train.idle_parts import IdleParts
from engine.train.previews import to_image
from engine.train.sampling import PreviewRequest, draw_batch
from engine.train.setup import DTYPES, choose_precision, load_plan_family

Progress = Callable[[str, int, int], None]
TOGETHER = 4
NEGATIVE = ""


def class_items(
    plan: Plan, device: torch.device, cache: Path, progress: Progress, warn: Warn = unheard
) -> tuple[Item, ...]:
    """The class pictures of a plan, each captioned by the class prompt; empty where the plan asks for none.

    The user's folder is only read. What `data.class_count` asks for beyond it is drawn into a folder below
    `cache` that belongs to this base model and prompt: later runs find the pictures there, and a run that was
    stopped or killed goes on where it was. `progress` may raise to leave.
    """
    data = plan.data
    sets = scan_classes(data)
    if sets is not None:
        # Such a set comes with words of its own; what has neither caption nor words shows the class.
        found = (replace(item, caption=item.caption or data.class_prompt) for item in sets.require().items)
        return tuple(found)
    own = _scanned(plan, Path(data.class_path)) if data.class_path else ()
    missing = max(0, data.class_count - len(own))
    if not missing:
        return own
    if not data.class_prompt:
        raise UserError(
            f"{missing} class pictures are missing, and there is no prompt to make them with",
            f"data.class_count is {data.class_count}, and {len(own)} pictures are there",
            "set data.class_prompt, for example to 'a dog', or lower data.class_count",
        )
    folder = cache_folder(plan, cache)
    ensure(plan, device, folder, missing, progress, warn)
    made = {item.rel: item for item in _scanned(plan, folder)}
    return (*own, *(made[name(index)] for index in range(missing)))


def _scanned(plan: Plan, folder: Path) -> tuple[Item, ...]:
    data = plan.data
    items = scan_folder(data, folder).require().items
    # A class picture teaches the class word: with the subject's captions it would teach the subject away.
    return tuple(replace(item, caption=data.class_prompt or item.caption) for item in items)


def name(index: int) -> str:
    """The file name of the index-th drawn picture."""
    return f"{index:06d}.png"


def cache_folder(plan: Plan, cache: Path) -> Path:
    """Where pictures of this base model, prompt and size are kept between runs."""
    samples = plan.samples
    facts = [
        draws.VERSION,
        base_hash(plan),
        plan.data.class_prompt,
        plan.data.resolution,
        samples.steps,
        samples.guidance,
    ]
    # Pictures of earlier versions, which knew neither, keep their place.
    if samples.guidance_rescale or plan.base.zero_terminal_snr:
        facts += [samples.guidance_rescale, plan.base.zero_terminal_snr]
    digest = hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]
    return cache / "class-pictures" / digest


def ensure(
    plan: Plan, device: torch.device, folder: Path, count: int, progress: Progress, warn: Warn
) -> None:
    """Draw those of the first `count` pictures that `folder` lacks.

    Picture n depends on n alone: it is always drawn in the same group of four, so one that was finished
    before a crash stays as it is and the rest come out as they would have.
    """
    folder.mkdir(parents=True, exist_ok=True)
    groups = [range(first, first + TOGETHER) for first in range(0, count, TOGETHER)]
    lacking = [group for group in groups if _lacking(folder, group, count)]
    if not lacking:
        return
    base = _Base(plan, device, warn)
    done = sum((folder / name(index)).is_file() for index in range(count))
    progress("class pictures", done, count)
    for group in lacking:
        wanted = _lacking(folder, group, count)
        for index, picture in zip(group, _draw(base, group), strict=True):
            if index in wanted:
                write_atomic(folder / name(index), picture)
                done += 1
        progress("class pictures", done, count)


def _lacking(folder: Path, group: Sequence[int], count: int) -> list[int]:
    return [index for index in group if index < count and not (folder / name(index)).is_file()]


class _Base:
    """A copy of the base of its own, so that the one that trains is never rounded to the compute dtype.

    Text encoders and VAE wait on the CPU while the denoiser works.
    """

    @torch.no_grad()
    def __init__(self, plan: Plan, device: torch.device, warn: Warn) -> None:
        self.plan, self.device = plan, device
        self.family = family = load_plan_family(plan)
        self.dtype = DTYPES[choose_precision(plan.train.precision, device)]
        for part, module in family.parts.items():
            module.to(torch.float32 if part == VAE else self.dtype)
        idle = IdleParts(family.parts, {VAE, *family.spec.text_parts}, device)
        side = plan.data.resolution
        sizes = [Geometry((side, side), (0, 0), (side, side))]
        with idle.here(*family.spec.text_parts), self._autocast():
            self.prompt, self.negative = (
                family.with_geometry(family.encode_text(family.tokenize([text])), sizes)
                for text in (plan.data.class_prompt, NEGATIVE)
            )
        family.denoiser.to(device)
        self.autoencoder = Autoencoder(family, idle, device, plan.hardware.vae_tiling, warn)

    def _autocast(self) -> torch.autocast:
        enabled = self.dtype is not torch.float32
        return torch.autocast(self.device.type, dtype=self.dtype, enabled=enabled)

    @torch.no_grad()
    def draw(self, group: Sequence[int]) -> Tensor:
        """These pictures in [-1, 1], [b, 3, h, w] on the CPU."""
        side, samples = self.plan.data.resolution, self.plan.samples
        requests = [
            PreviewRequest(
                self.prompt,
                self.negative,
                key(0, "class-picture", index),
                samples.steps,
                samples.guidance,
                side,
                side,
                samples.guidance_rescale,
            )
            for index in group
        ]
        with self._autocast():
            return draw_batch(self.family, requests, self.device, decode=self.autoencoder.decode)


def _draw(base: _Base, group: Sequence[int]) -> list[bytes]:
    pixels, found = base.draw(group), []
    for picture in pixels:
        buffer = BytesIO()
        to_image(picture).save(buffer, "PNG")
        found.append(buffer.getvalue())
    return found
