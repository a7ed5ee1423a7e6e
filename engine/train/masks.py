"""How much each place of a picture's latents counts in the loss: from its mask, cut and turned as the picture is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor

from engine.dataset.cache import TensorCache, Tensors, cache_key
from engine.dataset.cached_encoder import CachedEncoder
from engine.dataset.mask_files import about_black
from engine.dataset.masks import fit_mask
from engine.dataset.report import Item
from engine.dataset.treatment import Treatment
from engine.train.autoencoder import Warn
from engine.train.encoded_table import EncodedTable
from engine.train.latents import CENTRE, Crop

VERSION = 1
"""Part of every key: raise it when the same mask would give other numbers."""
READERS = 4
SHOWN = 4


class Masks:
    """The masks of a data set; made once where the latents are, else for every batch."""

    def __init__(
        self,
        items: Sequence[Item],
        shown_as: Sequence[Treatment],
        fold: int,
        table: EncodedTable[int] | None = None,
    ) -> None:
        """`fold` is how many pixels across a place of the latents is; `table` has the masks of uncropped pictures."""
        self._items = items
        self._shown_as = shown_as
        self._fold = fold
        self._table = table
        self._pool = ThreadPoolExecutor(READERS, thread_name_prefix="masks")

    @classmethod
    def build(
        cls,
        items: Sequence[Item],
        shown_as: Sequence[Treatment],
        fold: int,
        cache: TensorCache | None,
        progress: Callable[[int, int], None],
        warn: Warn,
    ) -> Masks | None:
        """None where no picture has a mask. With a `cache` each is cut once and kept by content, and those that leave
        nothing of their picture are warned of; `progress` may raise to leave."""
        masked = [index for index, item in enumerate(items) if item.mask is not None]
        if not masked:
            return None
        if cache is None:
            return cls(items, shown_as, fold)
        table = _table(items, masked, fold, cache, progress)
        black = [index for index in masked if not table.many([index])[0]["mask"].any()]
        if black:
            said, more = about_black(items[black[0]].rel), len(black) - SHOWN
            names = ", ".join(items[index].rel for index in black[:SHOWN]) + (
                f" and {more} more" if more > 0 else ""
            )
            warn(said.code, f"{names}: {said.what}: {said.why}")
        return cls(items, shown_as, fold, table)

    def weights(
        self, rows: Sequence[int], flips: Sequence[bool], crops: Sequence[Crop], scale: Sequence[float]
    ) -> Tensor:
        """The weight of each place of these pictures' latents, [b, 1, h, w] on the CPU, in any one thread.

        What is white weighs `scale`, what is black the set's `unmasked_weight` of it; a picture without a mask weighs
        `scale` throughout.
        """
        maps = torch.stack(self._cut(rows, crops))
        # Mirrored after averaging, as the picture is mirrored after it was cut.
        maps = torch.stack([one.flip(-1) if flip else one for one, flip in zip(maps, flips, strict=True)])
        outside = torch.tensor([self._shown_as[row].unmasked_weight for row in rows]).view(-1, 1, 1, 1)
        # So written, white weighs exactly 1 and black exactly `outside`.
        return (maps + outside * (1 - maps)) * torch.tensor(list(scale)).view(-1, 1, 1, 1)

    def _cut(self, rows: Sequence[int], crops: Sequence[Crop]) -> list[Tensor]:
        if self._table is None:
            return list(
                self._pool.map(lambda row, crop: _cut(self._items[row], self._fold, crop), rows, crops)
            )
        known = [row for row in rows if self._items[row].mask is not None]
        found = dict(zip(known, self._table.many(known), strict=True))
        return [
            found[row]["mask"] if row in found else _cut(self._items[row], self._fold, CENTRE) for row in rows
        ]


def _table(
    items: Sequence[Item],
    masked: Sequence[int],
    fold: int,
    cache: TensorCache,
    progress: Callable[[int, int], None],
) -> EncodedTable[int]:
    def key_of(index: int) -> str:
        item = items[index]
        assert item.mask is not None
        content, alpha = cache.contents.sha256(item.mask.source), int(item.mask.alpha)
        return cache_key("mask", VERSION, content, alpha, item.width, item.height, *item.size, fold, *CENTRE)

    def begin(index: int) -> Callable[[], Tensors]:
        cut = _cut(items[index], fold, CENTRE)
        return lambda: {"mask": cut}

    return EncodedTable.build(CachedEncoder(cache, key_of, begin), masked, progress)


def _cut(item: Item, fold: int, crop: Crop) -> Tensor:
    """The picture's mask, [1, h, w]; ones where it has none."""
    if item.mask is None:
        return torch.ones(1, item.size[1] // fold, item.size[0] // fold)
    whole = item.mask.whole()
    return torch.from_numpy(fit_mask(whole, (item.width, item.height), item.size, fold, crop))[None]
