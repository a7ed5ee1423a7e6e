"""Latents of the pictures: encoded once and kept by content, or encoded for every batch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from engine.dataset.cache import CachedEncoder, TensorCache, latent_key
from engine.dataset.images import fit, load_rgb
from engine.dataset.report import Item
from engine.train.encoded_table import EncodedTable
from engine.train.modelhash import module_hash
from engine.train.setup import AdaptedModel

Crop = tuple[float, float]
LatentId = tuple[int, bool]
CENTRE: Crop = (0.5, 0.5)


def pixels(item: Item, flip: bool, crop: Crop) -> Tensor:
    """The picture as the model sees it: fp32 in [-1, 1], [3, h, w]."""
    array = fit(load_rgb(item.source), *item.size, crop=crop)
    if flip:
        array = np.ascontiguousarray(array[:, ::-1])
    return torch.from_numpy(array).permute(2, 0, 1).float() / 127.5 - 1.0


class LatentTable:
    """Latents that were encoded once, [2, c, h, w] a picture and orientation: mean and standard deviation."""

    def __init__(self, rows: Mapping[LatentId, Tensor] | EncodedTable[LatentId]) -> None:
        self._rows = rows

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

        def encode_one(batch: Sequence[LatentId]) -> list[dict[str, Tensor]]:
            ((index, side),) = batch
            mean, std = adapted.autoencoder.encode(pixels(items[index], side, CENTRE)[None])
            return [{"latent": torch.cat([mean, std])}]

        encoder: CachedEncoder[LatentId] = CachedEncoder(cache, key_of, encode_one)
        with adapted.idle.staying():
            return cls(EncodedTable.build(encoder, entries, progress))

    def rows(
        self, indexes: Sequence[int], flips: Sequence[bool], crops: Sequence[Crop]
    ) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation, each [b, c, h, w]."""
        entries, rows = list(zip(indexes, flips, strict=True)), self._rows
        if isinstance(rows, EncodedTable):
            table = torch.stack([row["latent"] for row in rows.many(entries)])
        else:
            table = torch.stack([rows[entry] for entry in entries])
        return table[:, 0], table[:, 1]


class LiveLatents:
    """Latents encoded for every batch: for random crops, or where nothing should be cached."""

    def __init__(self, items: Sequence[Item], adapted: AdaptedModel) -> None:
        self._items = items
        self._ready = adapted

    def rows(
        self, indexes: Sequence[int], flips: Sequence[bool], crops: Sequence[Crop]
    ) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation, each [b, c, h, w]."""
        images = [
            pixels(self._items[i], flip, crop) for i, flip, crop in zip(indexes, flips, crops, strict=True)
        ]
        return self._ready.autoencoder.encode(torch.stack(images))
