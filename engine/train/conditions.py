"""Condition pictures of a data set, as the method wants them: from files, or made from the pictures and cached."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from engine.dataset.annotators import VERSION, identity, maker
from engine.dataset.cache import TensorCache, Tensors, cache_key
from engine.dataset.cached_encoder import CachedEncoder
from engine.dataset.images import Pixels, load_rgb, placement
from engine.dataset.pairs import fit_condition, load_condition, pair_up
from engine.dataset.report import DatasetReport, Item
from engine.errors import UserError
from engine.files import write_atomic
from engine.methods.condition_nets import CONTROL
from engine.plan.previews import lenders
from engine.plan.schema import Plan
from engine.run.paths import condition_name
from engine.train.latents import CENTRE, Crop

READERS = 4


class Conditions:
    """Rows `control` [b, c, h, w] in [0, 1], cut and turned as the pictures are; c is 1 or 3 (RGB)."""

    def __init__(self, items: Sequence[Item], pixels: Callable[[Item], Pixels], channels: int) -> None:
        """`items` are those that have a condition; `pixels` gives one's whole map, uint8 [h, w, 3]."""
        self.items = items
        self.pixels = pixels
        self.channels = channels
        self._pool = ThreadPoolExecutor(READERS)

    def rows(
        self, items: Sequence[Item], flips: Sequence[bool], crops: Sequence[Crop]
    ) -> Mapping[str, Tensor]:
        """One row a picture; decoded side by side, as a picture of a megapixel takes some 10 ms."""

        def one(item: Item, flip: bool, crop: Crop) -> Tensor:
            return self.picture(item, item.size, crop, flip)

        return {CONTROL: torch.stack(list(self._pool.map(one, items, flips, crops)))}

    def picture(self, item: Item, size: tuple[int, int], crop: Crop = CENTRE, flip: bool = False) -> Tensor:
        """One condition, [c, h, w], at `size` (width and height)."""
        array = fit_condition(self.pixels(item), item, size, crop)
        if flip:
            array = np.ascontiguousarray(array[:, ::-1])
        if self.channels == 1:
            array = np.array(Image.fromarray(array).convert("L"))[:, :, None]
        return torch.from_numpy(array).permute(2, 0, 1).float() / 255.0

    def for_previews(
        self, prompts: Sequence[str], size: tuple[int, int], folder: Path | None
    ) -> list[dict[str, Tensor]]:
        """A condition for each prompt: of the first picture with that caption, else of the next in order.

        With a `folder` each is also written there as NN-control.png, beside the previews that it belongs to.
        """
        found = []
        for index, item in enumerate(lenders(self.items, prompts)):
            control = self.picture(item, size)
            if folder is not None:
                _write(control, folder / Path(condition_name(index)).name)
            found.append({CONTROL: control[None]})
        return found


def conditions_for(
    plan: Plan, report: DatasetReport, cache: TensorCache, progress: Callable[[int, int], None]
) -> Conditions | None:
    """The plan's conditions, made where it says so; none for a method without. `progress` may raise to leave."""
    source = plan.options.conditions
    if source is None:
        return None
    if source.maker != "files":
        made = MadeMaps(source.maker, cache, source.model)
        made.ensure(report.items, progress)
        return Conditions(report.items, made.pixels, source.channels)
    pairs = pair_up(report, source.path)
    if not pairs.report.items:
        first = next((finding for finding in pairs.problems if finding.level == "error"), None)
        why, fix = (first.why, first.fix) if first else ("", "add pictures")
        raise UserError("no picture has a condition picture", why, fix)
    return Conditions(pairs.report.items, lambda item: load_condition(pairs.files[item.rel]), source.channels)


class MadeMaps:
    """Maps made from the pictures, at the size they are trained at, and kept by content in the cache."""

    def __init__(self, kind: str, cache: TensorCache, model: str = "") -> None:
        make, weights = maker(kind, model), identity(kind, model)

        def key_of(item: Item) -> str:
            return cache_key(
                "condition", kind, VERSION, *weights, cache.contents.sha256(item.source), *covering(item)
            )

        def begin(item: Item) -> Callable[[], Tensors]:
            picture = Image.fromarray(load_rgb(item.source))
            wanted = covering(item)
            if picture.size != wanted:
                picture = picture.resize(wanted, Image.Resampling.LANCZOS)
            pixels = np.array(picture)
            return lambda: {"map": torch.from_numpy(_thin(make(pixels)))}

        self._encoder: CachedEncoder[Item] = CachedEncoder(cache, key_of, begin)

    def ensure(self, items: Sequence[Item], progress: Callable[[int, int], None]) -> None:
        """Make what is not in the cache yet."""
        self._encoder.ensure(items, progress)

    def pixels(self, item: Item) -> Pixels:
        """The whole map, uint8 [h, w, 3]."""
        array: Pixels = self._encoder.get(item)["map"].numpy()
        return np.repeat(array, 3, axis=2) if array.shape[2] == 1 else array


def covering(item: Item) -> tuple[int, int]:
    """Width and height of the whole picture when it is reduced to cover its bucket: edges depend on scale."""
    placed = placement(item.width, item.height, item.size)
    return round(placed.width), round(placed.height)


def _thin(array: Pixels) -> Pixels:
    """One channel where all three are equal."""
    grey = (array == array[:, :, :1]).all()
    return np.ascontiguousarray(array[:, :, :1] if grey else array)


def _write(control_chw: Tensor, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    array = (control_chw * 255).round().byte().permute(1, 2, 0).numpy()
    picture, raw = Image.fromarray(array[:, :, 0] if array.shape[2] == 1 else array), BytesIO()
    picture.save(raw, "PNG")
    write_atomic(path, raw.getvalue())
