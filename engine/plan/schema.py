"""The plan: what a run is asked to do, as frozen tables with every field declared once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Literal

from pydantic import ValidationError, model_validator

from engine.dataset.caption_rules import CaptionRules
from engine.plan.base_model import Base
from engine.plan.captions import Captions
from engine.plan.fields import PlanField, Section, option, section_fields
from engine.plan.hardware import Hardware
from engine.plan.methods import DEFAULT_METHOD, METHODS, MethodOptions
from engine.plan.objective import Objective
from engine.plan.optimizers import OPTIMIZER_TEXT, OPTIMIZERS, OptimizerName
from engine.plan.picture_sets import PictureSet, SetKind
from engine.plan.results import Checkpoints, Output, Samples
from engine.plan.tables import METHOD_HELP, declare_tables
from engine.plan.train import Train
from engine.plan.validation import Validation

SCHEMA_VERSION = 1
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
    flip: bool = option(
        False, "also show each picture mirrored (not for text, faces with one-sided features)"
    )
    random_crop: bool = option(
        False, "crop at another place each epoch; needs latents encoded on the fly", advanced=True
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
    class_path: str = option("", "folder of class pictures, for prior preservation; empty has none")
    class_prompt: str = option(
        "", "caption of class pictures, and the prompt they are made with where too few"
    )
    class_count: int = option(
        0, "how many class pictures; the base model makes what is missing", ge=0, le=100_000
    )
    class_weight: float = option(1.0, "weight of a class picture in the loss", ge=0, le=100)
    cache_latents: CacheChoice = option(
        "auto", "encode pictures once and keep the latents on disk; auto: unless random_crop", advanced=True
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
            bucket=data.bucket,
            flip=data.flip,
            random_crop=data.random_crop,
            caption_dropout=data.caption_dropout,
            shuffle_tags=data.shuffle_tags,
            keep_tags=data.keep_tags,
        )

    @property
    def sides(self) -> frozenset[int]:
        """The resolutions of the plan and of its sets."""
        return frozenset((self.resolution, *(one.resolution for one in self.sets if one.resolution)))

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
        return one.model_copy(update={name: getattr(own, name) for name in empty})


class Optimizer(Section):
    """What turns gradients into updates."""

    name: OptimizerName = option("adamw", f"optimiser: {OPTIMIZER_TEXT}")
    beta1: float = option(0.9, "decay of the gradient's mean", ge=0, lt=1, advanced=True)
    beta2: float = option(0.999, "decay of the gradient's square", ge=0, lt=1, advanced=True)
    weight_decay: float = option(0.01, "decoupled weight decay", ge=0, le=1, advanced=True)
    epsilon: float = option(1e-8, "added to the denominator", gt=0, le=1, advanced=True)

    @property
    def idle(self) -> frozenset[str]:
        return OPTIMIZERS[self.name].unread


class Plan(Section):
    """One run, as asked for. Paths are absolute once a run was made from it."""

    # After `data` stands a table for each method, from its declaration; all but the plan's own are none.

    version: Literal[1] = option(SCHEMA_VERSION, "schema version")
    name: str = option(..., "name of the run and of its files", pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,79}$")
    method: str = option(DEFAULT_METHOD, METHOD_HELP)
    seed: int = option(42, "every random draw follows from it", ge=0, lt=2**63)
    base: Base
    data: Data
    captions: Captions = option(Captions(), "")
    train: Train = option(Train(), "")
    optimizer: Optimizer = option(Optimizer(), "")
    objective: Objective = option(Objective(), "")
    samples: Samples = option(Samples(), "")
    validation: Validation = option(Validation(), "")
    checkpoints: Checkpoints = option(Checkpoints(), "")
    hardware: Hardware = option(Hardware(), "")
    output: Output = option(Output(), "")

    @model_validator(mode="before")
    @classmethod
    def _own_table(cls, value: object) -> object:
        if isinstance(value, dict):
            method = value.get("method", DEFAULT_METHOD)
            if isinstance(method, str) and method in METHODS:
                return {method: {}, **value}
        return value

    @property
    def options(self) -> MethodOptions:
        """The options of the plan's own method."""
        table: object = getattr(self, self.method)
        assert isinstance(table, MethodOptions)
        return table

    @property
    def idle(self) -> frozenset[str]:
        tables = [(name, getattr(self, name)) for name in type(self).model_fields]
        moved = self.captions.tag_dropout or any(each.shuffle_tags for each in self.data.picture_sets)
        of_tags = () if moved else ("data.keep_tags", "captions.keep_separator")
        # A denoiser that begins anew has a schedule of its own.
        fresh = ("base.zero_terminal_snr",) if "fresh_denoiser" in METHODS[self.method].requires else ()
        return frozenset((*of_tags, *fresh)) | frozenset(
            f"{name}.{field}" for name, table in tables if isinstance(table, Section) for field in table.idle
        )

    @property
    def export_formats(self) -> tuple[str, ...]:
        """The formats to write: output.formats, or the method's defaults less what its options rule out."""
        if self.output.formats:
            return tuple(self.output.formats)
        spec = METHODS[self.method]
        defaults = spec.formats[: spec.default_formats]
        return tuple(name for name in defaults if not self.options.format_obstacle(name))

    @property
    def file_stem(self) -> str:
        """What the output files are called."""
        return self.output.file_name or self.options.file_stem(self.data.trigger) or self.name

    @property
    def text_cache_obstacle(self) -> str:
        """Why caption embeddings cannot be encoded once, or an empty text when they can."""
        if self.options.trains_text:
            return "the text encoder trains, so its embeddings change at every step"
        shuffled = any(each.shuffle_tags for each in (*self.data.picture_sets, *self.data.class_sets))
        if shuffled:
            return "shuffled tags make another caption at every step"
        return self.captions.cache_obstacle

    @property
    def caption_rules(self) -> CaptionRules:
        """What the plan makes of its pictures' captions; tag dropout never takes a trigger."""
        rules = self.captions.rules
        return replace(rules, protected_tags=(*rules.protected_tags, *self.data.triggers))

    @property
    def latent_cache_obstacle(self) -> str:
        """Why latents cannot be encoded once, or an empty text when they can."""
        cropped = any(each.random_crop for each in (*self.data.picture_sets, *self.data.class_sets))
        return "each epoch crops at another place" if cropped else ""

    @property
    def folders_apart(self) -> tuple[Path, ...]:
        """Folders whose pictures are not trained on although they may lie in data.path: of conditions, and that to
        validate on."""
        source = self.options.conditions
        conditions = source.path if source is not None and source.maker == "files" else ""
        return tuple(Path(path).expanduser() for path in (conditions, self.validation.path) if path)

    @property
    def caches_text(self) -> bool:
        """Are caption embeddings encoded once? (data.cache_text with auto resolved)"""
        return self.data.cache_text == "on" or (
            self.data.cache_text == "auto" and not self.text_cache_obstacle
        )

    @property
    def caches_latents(self) -> bool:
        """Are latents encoded once? (data.cache_latents with auto resolved)"""
        return self.data.cache_latents == "on" or (
            self.data.cache_latents == "auto" and not self.latent_cache_obstacle
        )


declare_tables(Plan)


def own_options(method: str, answers: Mapping[str, object]) -> MethodOptions | None:
    """The method's options as dotted answers give them; none for no method, or answers that it does not take."""
    if method not in METHODS:
        return None
    own = {key.partition(".")[2]: value for key, value in answers.items() if key.startswith(f"{method}.")}
    try:
        return METHODS[method].options.model_validate(own)
    except ValidationError:
        return None


def plan_fields(method: str) -> list[PlanField]:
    """Every field that a plan of this method has, in the order of the file."""
    others = {name for name in METHODS if name != method}
    return [field for field in section_fields(Plan, "") if field.key.split(".")[0] not in others]
