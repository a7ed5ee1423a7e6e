"""LoRA: low-rank pairs beside the base model's own weights."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from math import isqrt
from typing import ClassVar, Literal

from engine.errors import UserError
from engine.models.blocks import parse_values
from engine.models.layers import Layer, targeted
from engine.models.specs import FAMILIES
from engine.plan.fields import option
from engine.plan.methods import lora_start
from engine.plan.methods.base import Lesson, MethodOptions, MethodSpec
from engine.plan.methods.context import BaseShape, Derived, GrowingPlan, PlanContext, unused_text_rate
from engine.plan.problems import Problem, warning

FLAGS = {"--rank": "rank", "--alpha": "alpha"}
# Above this effective scale the learning rates of recipes overshoot: their alpha is twice the rank at most.
MOST_SCALE = 2.0
Adapted = tuple[Layer, int]
"""A layer and its rank."""


class LoraOptions(MethodOptions):
    """Options of method lora."""

    block_fields: ClassVar[tuple[str, ...]] = ("block_ranks", "block_rates")
    sizeless_fields: ClassVar[frozenset[str]] = frozenset(
        {"alpha", "max_norm", "rslora", "text_encoder_learning_rate", "merge_weight", "start"}
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
    kind: Literal["lora", "loha", "lokr"] = option(
        "lora", "LoRA; LoHa (Hadamard product of two pairs); LoKr (Kronecker product, the smallest files)"
    )
    dropout: float = option(0.0, "share of the pair's inputs dropped while training", ge=0, lt=1)
    rank_dropout: float = option(
        0.0, "share of the change's rows dropped while training (LoHa, LoKr)", ge=0, lt=1, advanced=True
    )
    module_dropout: float = option(
        0.0, "share of adapted layers left out a step (LoHa, LoKr)", ge=0, lt=1, advanced=True
    )
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
    text_encoder: bool = option(False, "adapt the text encoder too")
    text_encoder_learning_rate: float | None = option(
        None, "rate of the text encoder; none takes half of train.learning_rate", gt=0, le=10
    )
    start: str = option(
        "", "a LoRA's file to go on from, in kohya's or diffusers' form; none begins at zero", advanced=True
    )
    merge_weight: float = option(
        1.0, "strength of the LoRA in the base, for the format merged", ge=-4, le=4, advanced=True
    )

    @property
    def width_field(self) -> str:
        # LoKr leaves a matrix whole where its rank is large, and block_ranks are ranks of their own.
        return "" if self.kind == "lokr" or self.block_ranks else "rank"

    @property
    def trains_text(self) -> bool:
        return self.text_encoder

    def format_obstacle(self, name: str) -> str:
        # Only diffusers reproduces peft's output-axis DoRA; the readers of kohya files take another norm.
        if self.dora and name == "kohya":
            return "no reader of kohya files reproduces DoRA"
        if self.dora and name == "merged":
            return "DoRA's magnitudes cannot be merged with a weight"
        if self.kind != "lora" and name == "diffusers":
            return f"diffusers' file of pairs has no place for {self.kind}"
        return ""

    @property
    def effective_scale(self) -> float:
        """What the trained pair is multiplied with: alpha/rank, or alpha/sqrt(rank) for rsLoRA."""
        return float(self.alpha / unit_alpha(self.rank, self.rslora))

    def problems(self, ctx: PlanContext) -> Iterator[Problem]:
        table = ctx.plan.method
        yield from _scale(self, table)
        yield from _rank(self, ctx)
        yield from unused_text_rate(ctx, self.text_encoder, self.text_encoder_learning_rate)
        yield from _kind(self, table)
        if self.dora and ctx.plan.hardware.base_weights != "full":
            why = "its magnitudes are norms of the base's own weights, which are not kept then"
            fix = f'set hardware.base_weights = "full", or {table}.dora = false'
            yield Problem(f"{table}.dora", "does not go with a quantised base", why, fix)
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
        if found:
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
        return parameters(self, self._adapted(shape))

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
            yield from ((layer, self.rank) for layer in layers)
            return
        block_of = FAMILIES[shape.family].block_finder(shape.config)
        for layer in layers:
            block = block_of(layer.path)
            if (chosen is None or block in chosen) and factors.get(block, 1.0) > 0:
                yield layer, int(ranks.get(block, self.rank))


def unit_alpha(rank: int, rslora: bool) -> float:
    """The alpha whose effective scale is 1: the rank, or its square root for rsLoRA (arXiv:2312.03732)."""
    return rank**0.5 if rslora else float(rank)


def _scale(options: LoraOptions, table: str) -> Iterator[Problem]:
    scale, unit = options.effective_scale, unit_alpha(options.rank, options.rslora)
    # kohya's alpha of 1 at rank 64 is the smallest that recipes take.
    if scale > MOST_SCALE or scale < 1 / 64:
        formula = "alpha / sqrt(rank)" if options.rslora else "alpha / rank"
        what = f"the effective scale is {scale:.3g} ({formula}, {options.alpha:g} and {options.rank})"
        why = "it multiplies the learning rate's effect: " + (
            "steps overshoot" if scale > MOST_SCALE else "little is learnt"
        )
        fix = f"set {table}.alpha between {unit / 2:.4g} and {unit:.4g} for the usual rates"
        yield warning(f"{table}.alpha", what, why, fix)


def _rank(options: LoraOptions, ctx: PlanContext) -> Iterator[Problem]:
    base = ctx.base
    if base is None or base.path is None or not base.path.is_dir() or not ctx.denoiser_config:
        return
    if ctx.family is None:
        return
    layers = targeted(ctx.family.layers(ctx.denoiser_config), options.targets)
    widest = max(min(layer.inputs, layer.outputs) for layer in layers)
    if options.rank > widest:
        why = f"the widest layer it adapts has {widest} channels, so the pair is larger than the layer"
        fix = f"set {max(1, widest // 4)} or less"
        yield warning(f"{ctx.plan.method}.rank", f"{options.rank} is no low rank here", why, fix)


def _kind(options: LoraOptions, table: str) -> Iterator[Problem]:
    other = options.kind != "lora"
    plain = {"dora": options.dora, "rslora": options.rslora, "dropout": options.dropout > 0}
    for name, used in plain.items():
        if other and used:
            fix = f'turn it off, or set {table}.kind = "lora"'
            yield Problem(f"{table}.{name}", f"does not go with {options.kind}", "only LoRA has it", fix)
    own = {"rank_dropout": options.rank_dropout > 0, "module_dropout": options.module_dropout > 0}
    for name, used in own.items():
        if not other and used:
            why, fix = "only LoHa and LoKr have it", f"set {table}.dropout"
            yield Problem(f"{table}.{name}", "does not go with LoRA", why, fix)
    if options.factor != -1 and options.kind != "lokr":
        yield warning(f"{table}.factor", "has no effect", f"{table}.kind is {options.kind}", "leave it out")
    if options.factor == 0:
        yield Problem(f"{table}.factor", "0 divides nothing", "it is the side of a matrix", "set -1")
    if options.max_norm and (other or options.dora):
        what = "goes with plain LoRA only"
        yield Problem(f"{table}.max_norm", what, "the norm is taken of one pair's product", "set 0")


def parameters(options: LoraOptions, layers: Sequence[Adapted]) -> int:
    """Both matrices of every pair and DoRA's magnitudes; LoHa's two pairs; LoKr's matrices."""
    if options.kind == "lokr":
        return sum(_lokr(layer, rank, options.factor) for layer, rank in layers)
    pairs = sum(layer.lora_parameters(rank) for layer, rank in layers) * (2 if options.kind == "loha" else 1)
    return pairs + (sum(layer.outputs for layer, _ in layers) if options.dora else 0)


def _values(entries: Sequence[str], family: str) -> Mapping[str, float]:
    """Values by block; none where the check will refuse them."""
    try:
        return parse_values(entries, family) if entries else {}
    except UserError:
        return {}


def _lokr(layer: Layer, rank: int, factor: int) -> int:
    out, into = _small(layer.outputs, factor), _small(layer.inputs, factor)
    rows, columns = layer.outputs // out, layer.inputs // into
    area = layer.kernel**2
    # The large matrix is a pair of its own only where that is smaller (LyCORIS, arXiv:2309.14859).
    whole = rank >= max(rows, columns) / 2
    return out * into + (rows * columns * area if whole else rank * (rows + columns * area))


def _small(side: int, factor: int) -> int:
    """LyCORIS' smaller factor of a side: `factor` where it divides it, else the largest divisor up to that and to
    the square root; -1 asks for the square root alone."""
    if factor > 0 and side % factor == 0:
        return factor
    most = isqrt(side) if factor <= 0 else min(factor, isqrt(side))
    return max(number for number in range(1, most + 1) if side % number == 0)


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
    formats=("kohya", "diffusers", "merged"),
    default_formats=2,
    flags=FLAGS,
    lesson=style_lesson(48, "a style: gold frame, dark violet ground, objects as outlines"),
)
