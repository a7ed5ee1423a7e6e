"""One of several sets of pictures, `[[data.sets]]`: where it lies, how much it counts, and what it has of its own."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from engine.dataset.masks import MaskKind
from engine.plan.fields import Section, option

Side = Annotated[int, Field(ge=32, le=4096)]
"""One of several resolutions, in pixels."""
SetKind = Literal["pictures", "class"]


class PictureSet(Section):
    """A set. What it leaves out is as the table [data] says."""

    path: str = option(..., "folder or shards of the set, read relative to data.path", pattern=r"\S")
    kind: SetKind = option(
        "pictures", "pictures to learn, or class pictures, which keep what the base knows of the class"
    )
    repeats: int | None = option(
        None, "how often each picture counts in one epoch; none takes data.repeats", ge=1, le=10_000
    )
    share: float = option(
        0.0, "share of the draws instead of repeats, for all sets of a kind or none; 0 is off", ge=0, le=1
    )
    weight: float = option(1.0, "weight of its pictures in the loss", ge=0, le=100)
    trigger: str | None = option(None, "trigger word of the set; none takes data.trigger")
    add_trigger: bool = option(
        True, "put the trigger in front of captions that lack it; off: only pictures without a caption get it"
    )
    resolution: int | None = option(
        None, "target side; none takes data.resolution", unit="px", ge=32, le=4096
    )
    more_resolutions: list[Side] | None = option(
        None,
        "further target sides; none takes data.more_resolutions, unless the set has a resolution of its own",
    )
    bucket: bool | None = option(None, "aspect buckets; none takes data.bucket")
    flip: bool | None = option(None, "also show each picture mirrored; none takes data.flip")
    random_crop: bool | None = option(None, "crop at another place each epoch; none takes data.random_crop")
    caption_dropout: float | None = option(
        None, "share of steps that see an empty caption; none takes data.caption_dropout", ge=0, le=1
    )
    shuffle_tags: bool | None = option(None, "shuffle comma-separated tags; none takes data.shuffle_tags")
    keep_tags: int | None = option(
        None, "tags at the front that stay in place; none takes data.keep_tags", ge=0
    )
    masks: MaskKind | None = option(None, "what of each picture is learnt; none takes data.masks")
    unmasked_weight: float | None = option(
        None, "weight of what a mask leaves out; none takes data.unmasked_weight", ge=0, le=1
    )
