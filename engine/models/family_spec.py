"""The row of a model family: everything that is known of it without torch, one field a fact."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any, Literal

from engine.models.file_layout import FileLayout
from engine.models.layers import Layer

Config = Mapping[str, Any]
BASE = "BASE"
"""What lies in no block: text encoders, time embedding, first and last convolution."""


@dataclass(frozen=True)
class TextPart:
    """One text encoder. `name` is its folder in a diffusers model, `class_name` transformers' class."""

    name: str
    class_name: str
    parameters: int
    below: str
    """The start of all that a single file holds of it."""
    prefix: str
    """The start of its tensors' names in a single file."""
    layout: Literal["hf", "open_clip"]
    """Whose names follow the prefix. OpenCLIP's encoders are padded with token 0, CLIP's with the end token."""
    kohya: str
    """kohya's start of its modules' names in a LoRA."""
    embedding: str = "emb_params"
    """Its key in a file of word embeddings."""
    projects: bool = False
    """Has it a projection of the pooled text?"""
    unused_layers: int = 0
    """Layers at the end that a single file holds and nobody reads."""

    @property
    def tokenizer(self) -> str:
        """The folder of its tokenizer."""
        return self.name.replace("text_encoder", "tokenizer")


@dataclass(frozen=True)
class Blocks:
    """A denoiser's blocks by name, as users of other tools write them."""

    order: tuple[str, ...] = ()
    """Every block in the order of the forward pass."""
    attending: tuple[str, ...] = ()
    """The blocks that have attention."""
    carries: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """The blocks that carry `style` and `content`."""
    numbered: Mapping[int, tuple[str, ...]] = field(default_factory=dict)
    """What the numbers of a block weight string stand for, by how many there are: for LoRA first."""
    presets: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    """Named block weight strings."""
    aliases: Mapping[str, str] = field(default_factory=dict)
    """Other spellings of a name."""

    def runs(self) -> Iterator[str]:
        """The names in short: "IN00 to IN11", "MID"."""
        for _, group in groupby(self.order, lambda name: name.rstrip("0123456789")):
            names = list(group)
            yield names[0] if len(names) == 1 else f"{names[0]} to {names[-1]}"


@dataclass(frozen=True)
class SingleFileMarks:
    """How a checkpoint in one file is told to be of this family, and what says what it predicts."""

    family: tuple[str, ...]
    """Starts of text encoders' names, one of which this family's files have: asked where `sketch` tells nothing."""
    denoiser: str
    """The start of the denoiser's names."""
    blocks: str
    """The start of its first blocks' names."""
    first: str
    """The denoiser's first weight, whose second axis counts the channels of its input."""
    roots: tuple[str, ...] = ()
    """What follows that start."""
    sketch: Callable[[Mapping[str, tuple[int, ...]]], tuple[Config, str]] = lambda shapes: ({}, "")
    """What the shapes by name tell of the denoiser's config, for `recognise`, and the tensor that tells it; an empty
    config where they tell nothing."""
    velocity: str = ""
    """An empty tensor by which v-prediction is told."""
    no_signal: str = ""
    """An empty tensor by which a schedule is told that ends without any signal, which takes v-prediction."""
    spread: tuple[str, float] | None = None
    """A tensor whose values spread further than this where the model predicts v."""


@dataclass(frozen=True)
class FamilySpec:
    """Facts of one family; those with a value here are what most families leave as they are."""

    name: str
    title: str
    short: str
    """How a sentence calls it."""
    denoiser: str
    """The part that predicts, by its folder in a diffusers model."""
    denoiser_title: str
    denoiser_class: str
    """diffusers' class of it."""
    resolution: int
    """Side in pixels that its models were made for."""
    downscale: int
    """Pixels a latent."""
    latent_channels: int
    text: tuple[TextPart, ...]
    token_limit: int
    """Tokens of a caption that are read, without start and end."""
    provides: frozenset[str]
    """What some methods and options ask for and not every family has."""
    layers: Callable[[Config], list[Layer]]
    """Every layer of a denoiser of this config that a LoRA may adapt."""
    block_finder: Callable[[Config], Callable[[str], str]]
    """For a denoiser of this config: from a module's path to the name of its block, or BASE."""
    blocks: Blocks = Blocks()
    resolutions: Mapping[str, int] = field(default_factory=dict)
    """`resolution` by what the model predicts, where it differs."""
    denoiser_parameters: int = 0
    vae_parameters: int = 0
    file: SingleFileMarks | None = None
    """None where no single file of this family is read."""
    layout: FileLayout | None = None
    """How such a file holds the model; given where `file` is."""
    parameter_names: Callable[[Config], Iterator[str]] | None = None
    """Every parameter's name of a denoiser of this config; none where they are only known to its class."""
    recognise: Callable[[Config], str] = lambda config: ""
    """Why a denoiser's config is this family's; empty where it is not."""
    hub_id: str = ""
    """The family's usual base model on the Hugging Face hub, to be offered to who has none."""
    pipeline: str = ""
    """diffusers' class of the whole."""
    index: Mapping[str, object] = field(default_factory=dict)
    """More of its model_index.json."""
    architectures: Mapping[str, str] = field(default_factory=dict)
    """modelspec.architecture by what the model predicts."""
    implementation: str = "diffusers"
    """modelspec.implementation of a LoRA."""
    not_opened: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """Programs, by export format ("single_file") or format and prediction ("single_file/v_prediction"), that read other
    families' files of the format, and fail on this family's or compute something else with them."""
    kohya_bases: Mapping[str, str] = field(default_factory=dict)
    """ss_base_model_version by what the model predicts."""
    kohya_v2: bool = False
    """ss_v2."""
    kohya_denoiser: str = "lora_unet"
    """kohya's start of the denoiser's modules' names."""
    kohya_paths: Callable[[Config], Mapping[str, str]] | None = None
    """The paths that kohya's names are made of, where they are not diffusers' own."""
    t2i_kinds: tuple[str, ...] = ()
    """The T2I-Adapters that fit; the first is what `auto` takes."""
    t2i_grid: int = 8
    """Pixels that a T2I-Adapter folds into one."""

    @property
    def text_parts(self) -> tuple[str, ...]:
        """The text encoders' names."""
        return tuple(part.name for part in self.text)

    @property
    def weight_parts(self) -> tuple[str, ...]:
        """The parts that hold weights."""
        return (self.denoiser, "vae", *self.text_parts)

    @property
    def folder_parts(self) -> tuple[str, ...]:
        """What a diffusers folder needs."""
        return (*self.weight_parts, *(part.tokenizer for part in self.text), "scheduler")

    @property
    def classes(self) -> dict[str, tuple[str, str]]:
        """(library, class) by part, tokenizers among them."""
        texts = {part.name: ("transformers", part.class_name) for part in self.text}
        tokenizers = {part.tokenizer: ("transformers", "CLIPTokenizer") for part in self.text}
        denoiser = ("diffusers", self.denoiser_class)
        return {self.denoiser: denoiser, "vae": ("diffusers", "AutoencoderKL"), **texts, **tokenizers}

    @property
    def parameters(self) -> dict[str, int]:
        """Numbers in each part."""
        own = {self.denoiser: self.denoiser_parameters, "vae": self.vae_parameters}
        return own | {part.name: part.parameters for part in self.text}

    def text_part(self, name: str) -> TextPart:
        """The text encoder of that name."""
        return next(part for part in self.text if part.name == name)

    def file_prefixes(self) -> dict[str, str]:
        """The start of each part's names in a single file."""
        assert self.file is not None, self.name
        texts = {part.name: part.below for part in self.text}
        return {self.denoiser: self.file.denoiser, "vae": VAE_PREFIX, **texts}


VAE_PREFIX = "first_stage_model."
