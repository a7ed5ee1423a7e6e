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
from engine.plan.data import Data
from engine.plan.fields import PlanField, Section, option, section_fields
from engine.plan.hardware import Hardware
from engine.plan.methods import DEFAULT_METHOD, METHODS, MethodOptions
from engine.plan.objective import Objective
from engine.plan.optimizers import OPTIMIZER_TEXT, OPTIMIZERS, OptimizerName
from engine.plan.results import Checkpoints, Output, Samples
from engine.plan.tables import METHOD_HELP, declare_tables
from engine.plan.train import Train
from engine.plan.validation import Validation

SCHEMA_VERSION = 1


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
        if cropped:
            return "each epoch crops at another place"
        return "each step changes the colours anew" if self.data.colours.any else ""

    @property
    def folders_apart(self) -> tuple[Path, ...]:
        """Folders whose pictures are not trained on although they may lie in data.path: of conditions, of masks, and
        that to validate on."""
        source = self.options.conditions
        conditions = source.path if source is not None and source.maker == "files" else ""
        apart = (conditions, self.validation.path, self.data.mask_path)
        return tuple(Path(path).expanduser() for path in apart if path)

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
