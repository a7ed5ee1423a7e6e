"""A picture's mask, which says what of it is learnt, and how it is cut as its picture is cut."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from engine.dataset.images import Pixels, load_opacity, load_rgb, placement
from engine.dataset.sources import Source

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Shares = npt.NDArray[np.float32]
else:
    Shares = Any

MaskKind = Literal["off", "alpha", "files"]


@dataclass(frozen=True, slots=True)
class MaskChoice:
    """Where masks come from; `folder` is one of masks with the pictures' names, empty for those beside the pictures."""

    kind: MaskKind = "off"
    folder: str = ""


NONE = MaskChoice()


@dataclass(frozen=True, slots=True)
class Mask:
    """One picture's mask: the brightness of the picture at `source`, or its opacity where `alpha` is set."""

    source: Source
    alpha: bool = False

    def whole(self) -> Pixels:
        """How much each of its pixels counts, uint8 of 0 to 255, [h, w]. Raises PictureError."""
        import numpy as np
        from PIL import Image

        if self.alpha:
            return load_opacity(self.source)
        rgb = load_rgb(self.source, background=(0, 0, 0))
        return np.array(Image.fromarray(rgb).convert("L"), dtype=np.uint8)


def fit_mask(
    whole: Pixels, picture: tuple[int, int], size: tuple[int, int], fold: int, crop: tuple[float, float]
) -> Shares:
    """The part of a mask under its picture's crop, averaged over each place of the latents.

    `whole` is uint8, [h, w], where 255 counts fully. `picture` has the upright picture's width and height, `size` those
    that it is trained at, and `crop` its fractions; a place is `fold` x `fold` pixels. The result is fp32, 0 to 1,
    [size[1] / fold, size[0] / fold]. The box follows from the picture's sides, so both are cut alike even where their
    sides differ. A place counts as the exact share of its area: without any white it has exactly 0.
    """
    import numpy as np

    high, wide = whole.shape
    placed = placement(*picture, size, crop)
    across, down = wide / placed.width, high / placed.height
    columns = (placed.left + np.arange(0, size[0] + 1, fold)) * across
    rows = (placed.top + np.arange(0, size[1] + 1, fold)) * down
    shares = _means(_means(whole, columns).T, rows).T / 255
    found: Shares = np.ascontiguousarray(shares.clip(0.0, 1.0), dtype=np.float32)
    return found


def _means(table: Any, edges: Any) -> Any:
    """Each row's mean between neighbouring edges, which may lie within a number; in fp64."""
    import numpy as np

    edges = np.clip(edges, 0, table.shape[1])
    sums = np.zeros((table.shape[0], table.shape[1] + 1))
    np.cumsum(table, axis=1, dtype=np.float64, out=sums[:, 1:])
    at = np.minimum(edges.astype(np.int64), table.shape[1] - 1)
    # Where nothing is added the sums on both sides are the same number, and their difference is exactly 0.
    reached = sums[:, at] + (edges - at) * (sums[:, at + 1] - sums[:, at])
    return np.diff(reached, axis=1) / np.diff(edges)
