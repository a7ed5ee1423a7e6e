"""The plan's table [data]: the pictures, how they are shown, and their captions."""

from __future__ import annotations

from typing import Literal

from pydantic import model_validator

from engine.dataset.areas import Limits
from engine.dataset.colours import Colours
from engine.dataset.masks import MaskChoice, MaskKind
from engine.plan.fields import Section, option
from engine.plan.picture_sets import PictureSet, SetKind, Side

CacheChoice = Literal["auto", "on", "off"]


class Data(Section):
    """The pictures and their captions; the folder is only read."""

    path: str = option(
        ..., "folder of pictures with .txt/.caption files or metadata.jsonl for captions, or .tar shards"
    )
    sets: list[PictureSet] = option(
        [], "several sets with repeats, weights, words and more of their own, each a table [[data.sets]]"
    )
    trigger: str = option("", "trigger word; alone where a picture has no caption, in front where it has one")
    resolution: int = option(
        512, "target side; pictures are fitted to buckets of this area", unit="px", ge=32, le=4096
    )
    bucket: bool = option(True, "aspect buckets: keep each picture's shape instead of cropping to a square")
    more_resolutions: list[Side] = option(
        [],
        "further target sides, in px: each picture is trained at each area that it fills",
        advanced=True,
    )
    bucket_min: int = option(
        0, "shortest side of a bucket; 0 is half the resolution", unit="px", ge=0, le=4096, advanced=True
    )
    bucket_max: int = option(
        0, "longest side of a bucket; 0 is twice the resolution", unit="px", ge=0, le=8192, advanced=True
    )
    flip: bool = option(
        False, "also show each picture mirrored (not for text, faces with one-sided features)"
    )
    random_crop: bool = option(
        False, "crop at another place each epoch; needs latents encoded on the fly", advanced=True
    )
    brightness: float = option(
        0.0,
        "change of brightness at each step, up to this share either way; 0 is off",
        ge=0,
        le=1,
        advanced=True,
    )
    contrast: float = option(
        0.0,
        "change of contrast at each step, up to this share either way; 0 is off",
        ge=0,
        le=1,
        advanced=True,
    )
    saturation: float = option(
        0.0,
        "change of saturation at each step, up to this share either way; 0 is off",
        ge=0,
        le=1,
        advanced=True,
    )
    hue: float = option(
        0.0,
        "turn of hue at each step, up to this share of the colour circle; 0 is off",
        ge=0,
        le=0.5,
        advanced=True,
    )
    repeats: int = option(1, "how often each picture counts in one epoch", ge=1, le=10_000, advanced=True)
    recursive: bool = option(True, "look for pictures in sub-folders too", advanced=True)
    caption_dropout: float = option(
        0.05, "share of steps that see an empty caption, for guidance", ge=0, le=1
    )
    shuffle_tags: bool = option(False, "shuffle comma-separated tags", advanced=True)
    keep_tags: int = option(
        1, "tags at the front that stay in place when tags are shuffled", ge=0, advanced=True
    )
    masks: MaskKind = option(
        "off",
        "what of each picture is learnt: off (all of it), alpha (what is opaque), files (what is white in its mask: "
        "NAME-masklabel.png, NAME_mask.png or masks/NAME.png)",
        advanced=True,
    )
    mask_path: str = option(
        "", "folder of masks with the pictures' names; empty takes those beside the pictures", advanced=True
    )
    unmasked_weight: float = option(
        0.1,
        "weight in the loss of what a mask leaves out; at 0 nothing is learnt of it",
        ge=0,
        le=1,
        advanced=True,
    )
    class_path: str = option("", "folder of class pictures, for prior preservation; empty has none")
    class_prompt: str = option(
        "", "caption of class pictures, and the prompt they are made with where too few"
    )
    class_count: int = option(
        0, "how many class pictures; the base model makes what is missing", ge=0, le=100_000
    )
    class_weight: float = option(1.0, "weight of a class picture in the loss", ge=0, le=100)
    cache_latents: CacheChoice = option(
        "auto",
        "encode pictures once and keep the latents on disk; auto: unless random_crop or colours change",
        advanced=True,
    )
    cache_text: CacheChoice = option(
        "auto", "encode captions once; auto: unless a text encoder trains or tags are shuffled", advanced=True
    )

    @model_validator(mode="before")
    @classmethod
    def _of_sets(cls, value: object) -> object:
        # Sets say where they lie; a folder around them is not needed.
        return {"path": "", **value} if isinstance(value, dict) and value.get("sets") else value

    @property
    def idle(self) -> frozenset[str]:
        kinds = {one.masks for one in self.picture_sets}
        bucketed = any(one.bucket for one in (*self.picture_sets, *self.class_sets))
        of_buckets = () if bucketed else ("bucket_min", "bucket_max")
        of_masks = () if kinds - {"off"} else ("unmasked_weight",)
        return frozenset((*of_buckets, *of_masks, *(() if "files" in kinds else ("mask_path",))))

    @property
    def picture_sets(self) -> tuple[PictureSet, ...]:
        """The sets to learn from, each with all its values; a plan without sets has one, its folder."""
        return self._whole("pictures") if self.sets else (self.whole_set,)

    @property
    def whole_set(self) -> PictureSet:
        """The plan's own folder as a set: with what a set takes where it says nothing itself."""
        data = self
        # Its values were looked at in this table; the path of a plan with sets is empty.
        return PictureSet.model_construct(
            path=data.path,
            repeats=data.repeats,
            trigger=data.trigger,
            resolution=data.resolution,
            more_resolutions=data.more_resolutions,
            bucket=data.bucket,
            flip=data.flip,
            random_crop=data.random_crop,
            caption_dropout=data.caption_dropout,
            shuffle_tags=data.shuffle_tags,
            keep_tags=data.keep_tags,
            masks=data.masks,
            unmasked_weight=data.unmasked_weight,
        )

    @property
    def mask_choice(self) -> MaskChoice:
        """Where the masks of the plan's own folder come from."""
        return MaskChoice(self.masks, self.mask_path)

    @property
    def sides(self) -> frozenset[int]:
        """All resolutions of the plan and of its sets."""
        own = [side for one in self.sets for side in (one.resolution, *(one.more_resolutions or ())) if side]
        return frozenset((self.resolution, *self.more_resolutions, *own))

    @property
    def colours(self) -> Colours:
        """How far the pictures' colours may change."""
        data = self
        return Colours(data.brightness, data.contrast, data.saturation, data.hue)

    @property
    def limits(self) -> Limits:
        """The shortest and longest side of a bucket; 0 is free."""
        return (self.bucket_min, self.bucket_max)

    @property
    def class_sets(self) -> tuple[PictureSet, ...]:
        """The sets of class pictures, each with all its values."""
        return self._whole("class")

    @property
    def class_pictures(self) -> bool:
        """Are class pictures asked for?"""
        return bool(self.class_path or self.class_count or self.class_sets)

    @property
    def triggers(self) -> tuple[str, ...]:
        """The trigger words of all sets, each once."""
        return tuple(dict.fromkeys(each.trigger for each in self.picture_sets if each.trigger))

    def _whole(self, kind: SetKind) -> tuple[PictureSet, ...]:
        return tuple(self._filled(each) for each in self.sets if each.kind == kind)

    def _filled(self, one: PictureSet) -> PictureSet:
        own, empty = self.whole_set, {name for name in PictureSet.model_fields if getattr(one, name) is None}
        filled = {name: getattr(own, name) for name in empty}
        if one.more_resolutions is None and (one.resolution is not None or one.kind == "class"):
            filled["more_resolutions"] = []
        return one.model_copy(update=filled)
