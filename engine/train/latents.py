"""Latents of the pictures: encoded once and kept by content, or encoded for every batch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
import torch
from torch import Tensor

from engine.dataset.cache import TensorCache, Tensors, latent_key
from engine.dataset.cached_encoder import CachedEncoder
from engine.dataset.colours import Colours, recoloured
from engine.dataset.images import fit, load_rgb
from engine.dataset.report import Item
from engine.train.ahead import held, sent
from engine.train.encoded_table import EncodedTable
from engine.train.modelhash import module_hash
from engine.train.setup import AdaptedModel

Crop = tuple[float, float]
LatentId = tuple[int, bool]
CENTRE: Crop = (0.5, 0.5)
UNCHANGED = Colours()
ReadyLatents = Callable[[], tuple[Tensor, Tensor]]
"""Mean and standard deviation, each [b, c, h, w] on the device, for the thread that trains."""
# A picture of 512 px takes 9 ms.
DECODERS = 4


def pixels(item: Item, flip: bool, crop: Crop, change: Colours = UNCHANGED) -> Tensor:
    """The picture as the model sees it: fp32 in [-1, 1], [3, h, w]; `change` is of its colours."""
    array = fit(load_rgb(item.source), *item.size, crop=crop)
    if flip:
        array = np.ascontiguousarray(array[:, ::-1])
    shown = recoloured(array, change) if change.any else array
    return torch.from_numpy(shown).permute(2, 0, 1).float() / 127.5 - 1.0


class LatentTable:
    """Latents that were encoded once, [2, c, h, w] a picture and orientation: mean and standard deviation."""

    def __init__(
        self,
        rows: Mapping[LatentId, Tensor] | EncodedTable[LatentId],
        device: torch.device | None = None,
    ) -> None:
        """`device` is where batches go; none is the CPU."""
        self._rows = rows
        self._device = torch.device("cpu") if device is None else device

    @classmethod
    def build(
        cls,
        items: Sequence[Item],
        adapted: AdaptedModel,
        cache: TensorCache,
        flips: Sequence[bool],
        progress: Callable[[int, int], None],
    ) -> LatentTable:
        """Read what the cache holds and encode the rest, one by one: a picture's latents then do not depend
        on which others happened to be missing, so an interrupted start changes nothing."""
        # Cached latents are scaled and shifted, and neither number is among the weights.
        vae = adapted.family.configs["vae"]
        scale, shift = vae.get("scaling_factor"), vae.get("shift_factor")
        scale = scale if shift is None else f"{scale}|{shift}"
        model = f"{adapted.family.spec.name}|{scale}|{module_hash(adapted.family.parts['vae'])}"
        # What tiles make differs a little from what the whole picture gives.
        model += "|tiles" if adapted.autoencoder.tiles_encode else ""
        entries = [
            (index, side)
            for index, flip in enumerate(flips)
            for side in ((False, True) if flip else (False,))
        ]

        def key_of(entry: LatentId) -> str:
            item = items[entry[0]]
            return latent_key(cache.contents.sha256(item.source), item.size, CENTRE, entry[1], model)

        def begin(entry: LatentId) -> Callable[[], Tensors]:
            index, side = entry
            picture = held(pixels(items[index], side, CENTRE)[None], adapted.device)
            return lambda: {"latent": torch.cat(adapted.autoencoder.encode(picture)).cpu()}

        encoder: CachedEncoder[LatentId] = CachedEncoder(cache, key_of, begin)
        with adapted.idle.staying():
            return cls(EncodedTable.build(encoder, entries, progress), adapted.device)

    def gather(self, indexes: Sequence[int], flips: Sequence[bool], crops: Sequence[Crop]) -> ReadyLatents:
        """Read the rows of these pictures, in any thread."""
        entries, rows = list(zip(indexes, flips, strict=True)), self._rows
        if not isinstance(rows, EncodedTable):
            return partial(self._sent, self._stacked([rows[entry] for entry in entries]))
        table, found = rows, rows.peek(entries)
        whole = [row["latent"] for row in found if row is not None]
        if len(whole) == len(found):
            return partial(self._sent, self._stacked(whole))
        return lambda: self._sent(self._stacked([row["latent"] for row in table.filled(entries, found)]))

    def _stacked(self, rows: Sequence[Tensor]) -> Tensor:
        return held(torch.stack(list(rows)), self._device)

    def _sent(self, table: Tensor) -> tuple[Tensor, Tensor]:
        there = sent(table, self._device)
        return there[:, 0], there[:, 1]


class LiveLatents:
    """Latents encoded for every batch: for random crops and changed colours, or where nothing should be cached."""

    def __init__(self, items: Sequence[Item], adapted: AdaptedModel) -> None:
        self._items = items
        self._ready = adapted
        self._pool = ThreadPoolExecutor(DECODERS, thread_name_prefix="pictures")

    def gather(
        self,
        indexes: Sequence[int],
        flips: Sequence[bool],
        crops: Sequence[Crop],
        changes: Sequence[Colours] | None = None,
    ) -> ReadyLatents:
        """Decode these pictures, in any thread; they are encoded on the device, and stay there."""
        shown = [self._items[index] for index in indexes]
        changes = [UNCHANGED] * len(shown) if changes is None else changes
        images = held(
            torch.stack(list(self._pool.map(pixels, shown, flips, crops, changes))), self._ready.device
        )
        return partial(self._ready.autoencoder.encode, images)
