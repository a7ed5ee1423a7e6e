"""A ControlNet's parameter names in diffusers and in LDM files, derived from the UNet's config."""

from collections.abc import Mapping
from typing import Any

from engine.models.keymap_unet import PREFIX, unet_map

LDM_PREFIX = "control_model."
DIFFUSERS_MARK = "controlnet_cond_embedding.conv_in.weight"
LDM_MARK = "zero_convs.0.0.weight"
# A ControlNet has the UNet's encoder and middle; the rest of the UNet's names are its decoder's.
_SHARED = ("conv_in.", "time_embedding.", "add_embedding.", "down_blocks.", "mid_block.")
_HINT_BLOCKS = 6
_BOTH = ("weight", "bias")


def controlnet_map(config: Mapping[str, Any]) -> dict[str, str]:
    """{diffusers parameter name: LDM name with `control_model.`}, for a ControlNet of a UNet of this config.

    `config` is the UNet's, or the ControlNet's own, which has the same entries for the blocks they share.
    """
    # A ControlNet's config says nothing of a decoder; its names are thrown away again below.
    whole = {"up_block_types": [], **config}
    pairs = {
        ours: LDM_PREFIX + theirs.removeprefix(PREFIX)
        for ours, theirs in unet_map(whole).items()
        if ours.startswith(_SHARED)
    }
    modules = {"controlnet_mid_block": "middle_block_out.0"}
    # The encoder's first convolution and each of its layers and downsamplers feed one zero convolution.
    inputs = {int(name.split(".")[2]) for name in pairs.values() if ".input_blocks." in f".{name}"}
    modules |= {f"controlnet_down_blocks.{number}": f"zero_convs.{number}.0" for number in inputs}
    hint = "controlnet_cond_embedding"
    modules |= {f"{hint}.conv_in": "input_hint_block.0"}
    modules |= {f"{hint}.blocks.{at}": f"input_hint_block.{2 * at + 2}" for at in range(_HINT_BLOCKS)}
    modules |= {f"{hint}.conv_out": f"input_hint_block.{2 * _HINT_BLOCKS + 2}"}
    for ours, theirs in modules.items():
        for suffix in _BOTH:
            pairs[f"{ours}.{suffix}"] = f"{LDM_PREFIX}{theirs}.{suffix}"
    return pairs
