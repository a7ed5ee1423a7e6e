"""The VAE's parameter names in diffusers and in LDM files, derived from an AutoencoderKL's config."""

from collections.abc import Iterator, Mapping
from typing import Any

from engine.errors import UserError
from engine.models.keymap import Form, KeyMap, Slot

PREFIX = "first_stage_model."

_ATTENTION: tuple[tuple[str, str, Form], ...] = (
    ("group_norm", "norm", "same"),
    ("to_q", "q", "conv"),
    ("to_k", "k", "conv"),
    ("to_v", "v", "conv"),
    ("to_out.0", "proj_out", "conv"),
)
# The names that AutoencoderKL folders used before diffusers 0.17; diffusers itself still reads them.
OLD_ATTENTION = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}


def vae_map(config: Mapping[str, Any]) -> KeyMap:
    """{diffusers parameter name: its place in a single file}; attention matrices are 1x1 convolutions."""
    pairs: KeyMap = {}
    for ours, theirs, form in _modules(config):
        pairs[f"{ours}.weight"] = Slot(f"{PREFIX}{theirs}.weight", form)
        pairs[f"{ours}.bias"] = Slot(f"{PREFIX}{theirs}.bias")
    return pairs


def vae_names(config: Mapping[str, Any]) -> Iterator[str]:
    """Every parameter's name in diffusers."""
    return (f"{ours}.{suffix}" for ours, _, _ in _modules(config) for suffix in ("weight", "bias"))


def new_attention(name: str) -> str:
    """The name that diffusers has for it since 0.17."""
    for old, new in OLD_ATTENTION.items():
        name = name.replace(f".attentions.0.{old}.", f".attentions.0.{new}.")
    return name


def _modules(config: Mapping[str, Any]) -> Iterator[tuple[str, str, Form]]:
    kinds = {*config["down_block_types"], *config["up_block_types"]} - {
        "DownEncoderBlock2D",
        "UpDecoderBlock2D",
    }
    if kinds:
        raise UserError(
            f"This VAE has blocks that Stable Diffusion's VAE does not have: {', '.join(sorted(kinds))}"
        )
    yield from _side(config, "encoder")
    yield from _side(config, "decoder")
    if config.get("use_quant_conv", True):
        yield "quant_conv", "quant_conv", "same"
    if config.get("use_post_quant_conv", True):
        yield "post_quant_conv", "post_quant_conv", "same"


def _side(config: Mapping[str, Any], side: str) -> Iterator[tuple[str, str, Form]]:
    """Encoder or decoder. LDM counts the decoder's levels from the finest, diffusers from the coarsest."""
    widths = [int(width) for width in config["block_out_channels"]]
    down = side == "encoder"
    levels = widths if down else widths[::-1]
    layers = int(config.get("layers_per_block", 1)) + (0 if down else 1)
    ours_blocks, theirs_blocks = ("down_blocks", "down") if down else ("up_blocks", "up")
    sampler, ldm_sampler = ("downsamplers", "downsample") if down else ("upsamplers", "upsample")
    yield f"{side}.conv_in", f"{side}.conv_in", "same"
    before = levels[0]
    for block, width in enumerate(levels):
        level = block if down else len(levels) - 1 - block
        ours, theirs = f"{side}.{ours_blocks}.{block}", f"{side}.{theirs_blocks}.{level}"
        for layer in range(layers):
            yield from _resnet(f"{ours}.resnets.{layer}", f"{theirs}.block.{layer}", before != width)
            before = width
        if block < len(levels) - 1:
            yield f"{ours}.{sampler}.0.conv", f"{theirs}.{ldm_sampler}.conv", "same"
    yield from _resnet(f"{side}.mid_block.resnets.0", f"{side}.mid.block_1", False)
    yield from _resnet(f"{side}.mid_block.resnets.1", f"{side}.mid.block_2", False)
    if config.get("mid_block_add_attention", True):
        for name, ldm, form in _ATTENTION:
            yield f"{side}.mid_block.attentions.0.{name}", f"{side}.mid.attn_1.{ldm}", form
    yield f"{side}.conv_norm_out", f"{side}.norm_out", "same"
    yield f"{side}.conv_out", f"{side}.conv_out", "same"


def _resnet(ours: str, theirs: str, shortcut: bool) -> Iterator[tuple[str, str, Form]]:
    for name in ("norm1", "conv1", "norm2", "conv2"):
        yield f"{ours}.{name}", f"{theirs}.{name}", "same"
    if shortcut:
        yield f"{ours}.conv_shortcut", f"{theirs}.nin_shortcut", "same"
