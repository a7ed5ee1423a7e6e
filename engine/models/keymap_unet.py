"""The UNet's parameter names in diffusers and in LDM/SGM files, derived from its config."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from engine.errors import UserError

PREFIX = "model.diffusion_model."

# (diffusers name, LDM name) inside one ResnetBlock2D, and whether it has a bias.
_RESNET = (
    ("norm1", "in_layers.0"),
    ("conv1", "in_layers.2"),
    ("time_emb_proj", "emb_layers.1"),
    ("norm2", "out_layers.0"),
    ("conv2", "out_layers.3"),
)
_SHORTCUT = ("conv_shortcut", "skip_connection")
_TRANSFORMER_BIASED = (
    "norm1",
    "attn1.to_out.0",
    "norm2",
    "attn2.to_out.0",
    "norm3",
    "ff.net.0.proj",
    "ff.net.2",
)
_TRANSFORMER_PLAIN = tuple(
    f"{attn}.{name}" for attn in ("attn1", "attn2") for name in ("to_q", "to_k", "to_v")
)
_DOWN = {"DownBlock2D": False, "CrossAttnDownBlock2D": True}
_UP = {"UpBlock2D": False, "CrossAttnUpBlock2D": True}


def unet_map(config: Mapping[str, Any]) -> dict[str, str]:
    """{diffusers parameter name: name in a single file, with its `model.diffusion_model.` prefix}.

    Works for any width and depth of the UNets that SD 1.x, SD 2.x and SDXL use; UserError for other block
    types.
    """
    pairs: dict[str, str] = {}
    for ours, theirs, suffixes in _modules(config):
        for suffix in suffixes:
            pairs[f"{ours}.{suffix}"] = f"{PREFIX}{theirs}.{suffix}"
    return pairs


def unet_names(config: Mapping[str, Any]) -> Iterator[str]:
    """Every parameter's name in diffusers."""
    return (f"{ours}.{suffix}" for ours, _, suffixes in _modules(config) for suffix in suffixes)


def unet_module_map(config: Mapping[str, Any]) -> dict[str, str]:
    """{diffusers module path: LDM module path, without prefix}, for every module that holds parameters."""
    return {ours: theirs for ours, theirs, _ in _modules(config)}


Module = tuple[str, str, tuple[str, ...]]
_BOTH = ("weight", "bias")


def _modules(config: Mapping[str, Any]) -> Iterator[Module]:
    """(diffusers path, LDM path, parameter suffixes) of every module that holds parameters."""
    yield "conv_in", "input_blocks.0.0", _BOTH
    yield "time_embedding.linear_1", "time_embed.0", _BOTH
    yield "time_embedding.linear_2", "time_embed.2", _BOTH
    if config.get("addition_embed_type") == "text_time":
        yield "add_embedding.linear_1", "label_emb.0.0", _BOTH
        yield "add_embedding.linear_2", "label_emb.0.2", _BOTH
    elif config.get("addition_embed_type") is not None or config.get("class_embed_type") is not None:
        raise UserError(
            "This UNet has an extra conditioning input that sdtrain does not know",
            why=f"addition_embed_type={config.get('addition_embed_type')!r},"
            f" class_embed_type={config.get('class_embed_type')!r}",
            fix="use a plain SD 1.x, SD 2.x or SDXL model as the base",
        )
    yield from _down(config)
    yield from _mid(config)
    yield from _up(config)
    yield "conv_norm_out", "out.0", _BOTH
    yield "conv_out", "out.2", _BOTH


def _down(config: Mapping[str, Any]) -> Iterator[Module]:
    widths = [int(width) for width in config["block_out_channels"]]
    layers, depths = _per_block(config, "layers_per_block", 2), _depths(config)
    number, before = 1, widths[0]
    for block, kind in enumerate(config["down_block_types"]):
        attends = _attends(kind, _DOWN)
        for layer in range(layers[block]):
            ours = f"down_blocks.{block}"
            yield from _resnet(f"{ours}.resnets.{layer}", f"input_blocks.{number}.0", before != widths[block])
            if attends:
                yield from _transformer(
                    f"{ours}.attentions.{layer}", f"input_blocks.{number}.1", _layer(depths[block], layer)
                )
            before = widths[block]
            number += 1
        if block < len(widths) - 1:
            yield f"down_blocks.{block}.downsamplers.0.conv", f"input_blocks.{number}.0.op", _BOTH
            number += 1


def _mid(config: Mapping[str, Any]) -> Iterator[Module]:
    kind = config.get("mid_block_type", "UNetMidBlock2DCrossAttn")
    if kind != "UNetMidBlock2DCrossAttn":
        raise UserError(f"This UNet's middle block {kind!r} is not one of Stable Diffusion's")
    yield from _resnet("mid_block.resnets.0", "middle_block.0", False)
    yield from _transformer("mid_block.attentions.0", "middle_block.1", _layer(_depths(config)[-1], 0))
    yield from _resnet("mid_block.resnets.1", "middle_block.2", False)


def _up(config: Mapping[str, Any]) -> Iterator[Module]:
    widths = [int(width) for width in reversed(config["block_out_channels"])]
    layers = list(reversed(_per_block(config, "layers_per_block", 2)))
    depths = config.get("reverse_transformer_layers_per_block") or list(reversed(_depths(config)))
    number, previous = 0, widths[0]
    for block, kind in enumerate(config["up_block_types"]):
        attends, last = _attends(kind, _UP), block == len(widths) - 1
        below = widths[min(block + 1, len(widths) - 1)]
        for layer in range(layers[block] + 1):
            ours = f"up_blocks.{block}"
            skip = below if layer == layers[block] else widths[block]
            entering = (previous if layer == 0 else widths[block]) + skip
            yield from _resnet(
                f"{ours}.resnets.{layer}", f"output_blocks.{number}.0", entering != widths[block]
            )
            if attends:
                yield from _transformer(
                    f"{ours}.attentions.{layer}", f"output_blocks.{number}.1", _layer(depths[block], layer)
                )
            if layer == layers[block] and not last:
                place = 2 if attends else 1
                yield f"{ours}.upsamplers.0.conv", f"output_blocks.{number}.{place}.conv", _BOTH
            number += 1
        previous = widths[block]


def _resnet(ours: str, theirs: str, shortcut: bool) -> Iterator[Module]:
    for name, ldm in _RESNET + ((_SHORTCUT,) if shortcut else ()):
        yield f"{ours}.{name}", f"{theirs}.{ldm}", _BOTH


def _transformer(ours: str, theirs: str, depth: int) -> Iterator[Module]:
    """A Transformer2DModel: the two sides name everything inside it alike."""
    for name in ("norm", "proj_in", "proj_out"):
        yield f"{ours}.{name}", f"{theirs}.{name}", _BOTH
    for index in range(depth):
        inner = f"transformer_blocks.{index}"
        for name in _TRANSFORMER_BIASED:
            yield f"{ours}.{inner}.{name}", f"{theirs}.{inner}.{name}", _BOTH
        for name in _TRANSFORMER_PLAIN:
            yield f"{ours}.{inner}.{name}", f"{theirs}.{inner}.{name}", ("weight",)


def _attends(kind: str, known: Mapping[str, bool]) -> bool:
    if kind not in known:
        raise UserError(
            f"This UNet has a block of type {kind!r}",
            why=f"Stable Diffusion's UNets are made of {', '.join(known)}",
            fix="use an SD 1.x, SD 2.x or SDXL model as the base",
        )
    return known[kind]


def _per_block(config: Mapping[str, Any], key: str, default: int) -> list[int]:
    value = config.get(key, default)
    count = len(config["block_out_channels"])
    return [int(item) for item in value] if isinstance(value, Sequence) else [int(value)] * count


def _depths(config: Mapping[str, Any]) -> list[Any]:
    """Transformer layers of each down block; an entry is an int, or a list of one int a layer."""
    value = config.get("transformer_layers_per_block", 1)
    count = len(config["block_out_channels"])
    return list(value) if isinstance(value, Sequence) else [int(value)] * count


def _layer(depth: Any, layer: int) -> int:
    return int(depth[layer]) if isinstance(depth, Sequence) else int(depth)


def block_of(names: Mapping[str, str], path: str) -> str:
    """The block that a module path lies in: IN04 for input_blocks.4..., MID for middle_block..., OUT11 for
    output_blocks.11..., BASE for the rest; `names` is the config's `unet_module_map`."""
    while path and path not in names:
        path = path.rpartition(".")[0]
    first, _, rest = names.get(path, "").partition(".")
    kind = {"input_blocks": "IN", "output_blocks": "OUT"}.get(first)
    if kind is not None:
        return f"{kind}{int(rest.partition('.')[0]):02d}"
    return "MID" if first == "middle_block" else "BASE"
