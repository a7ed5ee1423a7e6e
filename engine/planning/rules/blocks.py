"""Rules about LoRA's kinds, named blocks, and the hypernetwork's structure."""

from __future__ import annotations

from collections.abc import Iterator

from engine.errors import UserError
from engine.models.blocks import parse_blocks, parse_values
from engine.plan.methods.hypernetwork import HypernetworkOptions
from engine.plan.methods.lora import LoraOptions
from engine.plan.methods.style_lora import StyleLoraOptions
from engine.plan.problems import Problem
from engine.planning.rules.context import Context, Rule, warning


def lora_kind(ctx: Context) -> Iterator[Problem]:
    options, table = ctx.plan.options, ctx.plan.method
    if not isinstance(options, LoraOptions):
        return
    other = options.kind != "lora"
    plain = {"dora": options.dora, "rslora": options.rslora, "dropout": options.dropout > 0}
    for name, used in plain.items():
        if other and used:
            fix = f'turn it off, or set {table}.kind = "lora"'
            yield Problem(f"{table}.{name}", f"does not go with {options.kind}", "only LoRA has it", fix)
    own = {"rank_dropout": options.rank_dropout > 0, "module_dropout": options.module_dropout > 0}
    for name, used in own.items():
        if not other and used:
            yield Problem(
                f"{table}.{name}",
                "does not go with LoRA",
                "only LoHa and LoKr have it",
                f"set {table}.dropout",
            )
    if options.factor != -1 and options.kind != "lokr":
        yield warning(f"{table}.factor", "has no effect", f"{table}.kind is {options.kind}", "leave it out")
    if options.factor == 0:
        yield Problem(f"{table}.factor", "0 divides nothing", "it is the side of a matrix", "set -1")
    if options.max_norm and (other or options.dora):
        what = "goes with plain LoRA only"
        yield Problem(f"{table}.max_norm", what, "the norm is taken of one pair's product", "set 0")


def block_names(ctx: Context) -> Iterator[Problem]:
    options, family = ctx.plan.options, ctx.family
    if not isinstance(options, LoraOptions) or family is None:
        return
    table = ctx.plan.method
    lists = {"block_ranks": options.block_ranks, "block_rates": options.block_rates}
    if isinstance(options, StyleLoraOptions):
        lists |= {"block_weights": options.block_weights}
        yield from _chosen(options, family.name)
    for name, entries in lists.items():
        try:
            values = parse_values(entries, family.name) if entries else {}
        except UserError as error:
            yield Problem(f"{table}.{name}", error.what, error.why, error.fix)
            continue
        if name == "block_ranks":
            odd = [block for block, value in values.items() if value < 1 or value != int(value)]
            if odd:
                yield Problem(
                    f"{table}.{name}", f"{odd[0]} has no whole rank", "a rank counts", "give 1 or more"
                )
        if name == "block_rates" and any(value < 0 for value in values.values()):
            yield Problem(f"{table}.{name}", "a rate is below 0", "it would unlearn", "give 0 or more")


def _chosen(options: StyleLoraOptions, family: str) -> Iterator[Problem]:
    if options.layers != "blocks":
        if options.blocks:
            why = f'style_lora.layers is "{options.layers}"'
            yield warning("style_lora.blocks", "has no effect", why, 'set style_lora.layers = "blocks"')
        return
    try:
        if not parse_blocks(options.blocks, family):
            yield Problem(
                "style_lora.blocks", "is empty", "no layer would train", 'give names such as "OUT03-08"'
            )
    except UserError as error:
        yield Problem("style_lora.blocks", error.what, error.why, error.fix)


def block_weights(ctx: Context) -> Iterator[Problem]:
    options = ctx.plan.options
    if (
        isinstance(options, StyleLoraOptions)
        and options.block_weights
        and (options.dora or options.kind != "lora")
    ):
        why = "a weight scales the pair's product, which these kinds have none of"
        yield Problem("style_lora.block_weights", "go with plain LoRA only", why, "leave them out")


def hypernetwork(ctx: Context) -> Iterator[Problem]:
    options = ctx.plan.options
    if not isinstance(options, HypernetworkOptions):
        return
    sizes, drops = options.layer_structure, options.dropout
    key = "hypernetwork.layer_structure"
    if len(sizes) < 2 or sizes[0] != 1 or sizes[-1] != 1:
        yield Problem(
            key, f"{sizes} does not start and end with 1", "its output is added to its input", "set [1, 2, 1]"
        )
    if any(size <= 0 or size > 64 for size in sizes):
        yield Problem(
            key,
            f"{sizes} has a width that cannot be",
            "each is a factor of the context's width",
            "set [1, 2, 1]",
        )
    if drops and len(drops) != len(sizes):
        what = f"{len(drops)} numbers for {len(sizes)} layers"
        yield Problem("hypernetwork.dropout", what, "each layer has one, the first is 0", "set [0, 0.1, 0]")
    elif any(not 0 <= drop < 1 for drop in drops) or (drops and drops[0]):
        yield Problem(
            "hypernetwork.dropout",
            f"{drops} is no dropout",
            "0 to below 1, the first is 0",
            "set [0, 0.1, 0]",
        )
    if ctx.plan.train.learning_rate > 1e-3 and not ctx.tiny:
        why = "recipes take 5e-6 to 1e-5 and hypernetworks diverge early"
        yield warning("train.learning_rate", f"{ctx.plan.train.learning_rate:g} is high", why, "set 1e-5")


RULES: tuple[Rule, ...] = (lora_kind, block_names, block_weights, hypernetwork)
