"""LoRA: low-rank pairs beside the base model's own weights."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import ClassVar, Literal

from engine.errors import UserError
from engine.files import file_word
from engine.models.blocks import parse_values
from engine.models.layers import Layer, targeted
from engine.models.specs import FAMILIES
from engine.plan.fields import option
from engine.plan.methods import lora_rules, lora_start, pivotal
from engine.plan.methods.base import Lesson, MethodOptions, MethodSpec
from engine.plan.methods.context import BaseShape, Derived, GrowingPlan, PlanContext, unused_text_rate
from engine.plan.methods.lora_counts import Adapted, parameters, unit_alpha
from engine.plan.problems import Problem

FLAGS = {"--rank": "rank", "--alpha": "alpha"}


class LoraOptions(MethodOptions):
    """Options of method lora."""

    block_fields: ClassVar[tuple[str, ...]] = ("block_ranks", "block_rates")
    sizeless_fields: ClassVar[frozenset[str]] = frozenset(
        {
            "alpha",
            "conv_alpha",
            "max_norm",
            "merge_weight",
            "plus_ratio",
            "rslora",
            "start",
            "text_encoder_learning_rate",
            "word_initial",
            "word_rate",
        }
    )
    path_fields: ClassVar[tuple[str, ...]] = ("start",)
    path_endings: ClassVar[Mapping[str, tuple[str, ...]]] = {"start": (".safetensors",)}

    rank: int = option(16, "width of the low-rank pair; more learns more and weighs more", ge=1, le=1024)
    alpha: float = option(
        16.0, "strength; the effective scale is alpha / rank, with rslora alpha / sqrt(rank)", gt=0, le=65536
    )
    targets: Literal["attention", "attention_ff", "all"] = option(
        "attention", "layers: attention; with feed-forward and projections; with convolutions too"
    )
    conv_rank: int | None = option(
        None, "targets all: rank of the convolutions; none takes `rank`", ge=1, le=1024, advanced=True
    )
    conv_alpha: float | None = option(
        None, "alpha of the convolutions; none keeps the effective scale", gt=0, le=65536, advanced=True
    )
    kind: Literal["lora", "loha", "lokr", "oft"] = option(
        "lora",
        "LoRA; LoHa (Hadamard product of two pairs); LoKr (Kronecker product, the smallest files); OFT (rotates "
        "outputs in blocks of `rank`)",
    )
    dropout: float = option(0.0, "share of the pair's inputs dropped while training", ge=0, lt=1)
    rank_dropout: float = option(
        0.0,
        "share of a pair's ranks dropped while training, for each picture (LoHa, LoKr: of the change's rows)",
        ge=0,
        lt=1,
        advanced=True,
    )
    module_dropout: float = option(0.0, "share of adapted layers left out a step", ge=0, lt=1, advanced=True)
    factor: int = option(
        -1, "LoKr: side of the small matrix; -1 takes near the square root", ge=-1, le=256, advanced=True
    )
    max_norm: float = option(
        0.0, "after each step a layer's change is scaled down to this norm; 0 is off", ge=0, advanced=True
    )
    block_ranks: list[str] = option(
        [], 'ranks a block, "OUT03=32" or "OUT03-08=8"; others have `rank`; the scale stays', advanced=True
    )
    block_rates: list[str] = option(
        [],
        'rates a block as factors, "OUT03=0.5", or 12, 17, 20 or 26 numbers in one text in the order of kohya\'s and '
        "A1111's block weights, or a preset (OUTALL); others are 1, 0 trains nothing",
        advanced=True,
    )
    rslora: bool = option(False, "scale by alpha / sqrt(rank): ranks above 32 learn better")
    dora: bool = option(False, "DoRA: magnitude and direction apart; loads in diffusers only")
    plus_ratio: float = option(
        1.0,
        "LoRA+: how many times the rate the upper halves of the pairs have; 1 is plain LoRA, 16 the paper's",
        ge=1,
        le=64,
        advanced=True,
    )
    text_encoder: bool = option(False, "adapt the text encoder too")
    text_encoder_learning_rate: float | None = option(
        None, "rate of the text encoder; none takes half of train.learning_rate", gt=0, le=10
    )
    word_vectors: int = option(
        0,
        "pivotal tuning: also teach data.trigger as a new word of so many vectors, in a file of its own; 0 is off",
        ge=0,
        le=16,
        advanced=True,
    )
    word_initial: str = option("", "what the new word starts from; none is random", advanced=True)
    word_rate: float | None = option(
        None, "rate of the new word; none takes 5 times train.learning_rate", gt=0, le=10, advanced=True
    )
    start: str = option(
        "", "a LoRA's file to go on from, in kohya's or diffusers' form; none begins at zero", advanced=True
    )
    merge_weight: float = option(
        1.0, "strength of the LoRA in the base, for the format merged", ge=-4, le=4, advanced=True
    )

    @property
    def width_field(self) -> str:
        # LoKr leaves a matrix whole where its rank is large, and block_ranks and conv_rank are ranks of their own.
        return "" if self.kind in ("lokr", "oft") or self.block_ranks or self.conv_rank else "rank"

    @property
    def idle(self) -> frozenset[str]:
        read = {
            "conv_rank": self.targets == "all",
            "conv_alpha": self.targets == "all" and self.kind == "lora",
            "plus_ratio": self.kind == "lora",
            "word_initial": self.word_vectors > 0,
            "word_rate": self.word_vectors > 0,
            "alpha": self.kind != "oft",
            "factor": self.kind == "lokr",
        }
        return frozenset(name for name, used in read.items() if not used)

    @property
    def trains_text(self) -> bool:
        # A word's vectors go through the whole text encoder.
        return self.text_encoder or self.word_vectors > 0

    def stem_beside(self, kind: str, trigger: str) -> str:
        # Programs take the file's name for the word in a prompt.
        return file_word(trigger) if self.word_vectors and kind == "embedding" else ""

    def format_obstacle(self, name: str) -> str:
        if name in pivotal.FORMATS and not self.word_vectors:
            return "no word is taught: word_vectors is 0"
        # Only diffusers reproduces peft's output-axis DoRA; the readers of kohya files take another norm.
        if self.dora and name == "kohya":
            return "no reader of kohya files reproduces DoRA"
        if self.dora and name == "merged":
            return "DoRA's magnitudes cannot be merged with a weight"
        if self.kind != "lora" and name == "diffusers":
            return f"diffusers' file of pairs has no place for {self.kind}"
        return ""

    @property
    def effective_scale(self) -> float | None:
        """What the trained pair is multiplied with: alpha/rank, or alpha/sqrt(rank) for rsLoRA; none for a rotation."""
        if self.kind == "oft":
            return None
        return float(self.alpha / unit_alpha(self.rank, self.rslora))

    def problems(self, ctx: PlanContext) -> Iterator[Problem]:
        table = ctx.plan.method
        yield from lora_rules.scale(self, table)
        yield from lora_rules.rank(self, ctx)
        yield from unused_text_rate(ctx, self.text_encoder, self.text_encoder_learning_rate)
        for rule in (lora_rules.kind, lora_rules.dropouts, lora_rules.rotation, lora_rules.convolutions):
            yield from rule(self, table)
        if self.dora and ctx.plan.hardware.base_weights != "full":
            why = "its magnitudes are norms of the base's own weights, which are not kept then"
            fix = f'set hardware.base_weights = "full", or {table}.dora = false'
            yield Problem(f"{table}.dora", "does not go with a quantised base", why, fix)
        yield from pivotal.problems(self, ctx)
        blocks = list(self.block_problems(table, ctx.family.name)) if ctx.family is not None else []
        yield from blocks
        if self.start and not any(problem.level == "error" for problem in blocks):
            yield from lora_start.problems(self, ctx, self._layers(ctx))

    def _layers(self, ctx: PlanContext) -> list[Layer]:
        """The denoiser's layers that are adapted; empty where the base is not known."""
        if ctx.family is None or not ctx.denoiser_config:
            return []
        config = ctx.denoiser_config
        shape = BaseShape(ctx.family.name, config, ctx.family.layers(config), (), 0)
        return [layer for layer, _ in self._in_denoiser(shape)]

    def block_problems(self, table: str, family: str) -> Iterator[Problem]:
        """Names and values of blocks that this family does not have."""
        for name in self.block_fields:
            entries = getattr(self, name)
            try:
                values = parse_values(entries, family) if entries else {}
            except UserError as error:
                yield Problem(f"{table}.{name}", error.what, error.why, error.fix)
                continue
            if name == "block_ranks":
                odd = [block for block, value in values.items() if value < 1 or value != int(value)]
                if odd:
                    what = f"{odd[0]} has no whole rank"
                    yield Problem(f"{table}.{name}", what, "a rank counts", "give 1 or more")
            if name == "block_rates" and any(value < 0 for value in values.values()):
                yield Problem(f"{table}.{name}", "a rate is below 0", "it would unlearn", "give 0 or more")

    @classmethod
    def derive(cls, plan: GrowingPlan) -> Iterator[Derived]:
        found = list(lora_start.derived(plan))
        yield from found
        if found or plan.given.get(f"{plan.method}.kind") == "oft":
            return
        stable = plan.given.get(f"{plan.method}.rslora") is True
        if stable or f"{plan.method}.rank" in plan.given:
            alpha = unit_alpha(plan.whole(f"{plan.method}.rank"), stable)
            why = "the rank's square root, as rsLoRA divides by it" if stable else "equal to the rank"
            yield Derived(f"{plan.method}.alpha", round(alpha, 4), f"{why}: the effective scale is 1")

    def chosen_blocks(self, family: str) -> tuple[str, ...] | None:
        """The denoiser's blocks that are adapted; none is all. So is what the check will refuse."""
        return None

    def trained_parameters(self, shape: BaseShape, trigger: str) -> int:
        return parameters(self, self._adapted(shape)) + self.word_vectors * shape.text_width

    def trained_shapes(self, shape: BaseShape) -> tuple[tuple[int, ...], ...]:
        if self.kind != "lora":
            return ()
        adapted = self._adapted(shape)
        downs = ((rank, *layer.shape[1:]) for layer, rank in adapted)
        return (*downs, *((layer.outputs, rank, *(1 for _ in layer.shape[2:])) for layer, rank in adapted))

    def _adapted(self, shape: BaseShape) -> list[Adapted]:
        found = list(self._in_denoiser(shape))
        if self.text_encoder:
            found += [(layer, self.rank) for layer in targeted(shape.text, self.targets)]
        return found

    def _in_denoiser(self, shape: BaseShape) -> Iterator[Adapted]:
        layers = targeted(shape.denoiser, self.targets)
        ranks, factors = _values(self.block_ranks, shape.family), _values(self.block_rates, shape.family)
        chosen = self.chosen_blocks(shape.family)
        if chosen is None and not ranks and not factors:
            yield from ((layer, self.rank_of(layer)) for layer in layers)
            return
        block_of = FAMILIES[shape.family].block_finder(shape.config)
        for layer in layers:
            block = block_of(layer.path)
            if (chosen is None or block in chosen) and factors.get(block, 1.0) > 0:
                yield layer, int(ranks.get(block, self.rank_of(layer)))

    def rank_of(self, layer: Layer) -> int:
        """The rank of a layer whose block has none of its own."""
        return self.conv_rank if self.conv_rank and layer.kernel > 1 else self.rank


def _values(entries: Sequence[str], family: str) -> Mapping[str, float]:
    """Values by block; none where the check will refuse them."""
    try:
        return parse_values(entries, family) if entries else {}
    except UserError:
        return {}


def style_lesson(pictures: int, teaches: str) -> Lesson:
    """A style; the last prompt does not call for it."""
    asked = ["zil style, a red star", "zil style, a blue heart", "zil style, a green ring", "a yellow circle"]
    return Lesson("style", pictures, teaches, "zil style", {"samples.prompts": asked})


SPEC = MethodSpec(
    name="lora",
    title="LoRA",
    goal="teach a style, a person, an object or a look without changing the base model",
    input="10 to 100 or more pictures; captions help",
    output="a light .safetensors file that plugs into the base model",
    use="styles, faces, clothing, objects, cinematic tones; the usual choice",
    options=LoraOptions,
    behaviour="engine.methods.lora:Lora",
    formats=("kohya", "diffusers", *pivotal.FORMATS, "merged"),
    default_formats=4,
    flags=FLAGS,
    lesson=style_lesson(48, "a style: gold frame, dark violet ground, objects as outlines"),
)
