"""What the families with Stable Diffusion's UNet share."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from engine.models.family_spec import Config, SingleFileMarks
from engine.models.file_layout import FileLayout
from engine.models.keymap_unet import PREFIX, block_of, unet_map, unet_module_map
from engine.models.unet_config import infer_unet

PART, START = "unet", PREFIX
BLOCKS = f"{PREFIX}input_blocks."
FIRST = f"{BLOCKS}0.0.weight"
ROOTS = ("input_blocks.", "middle_block.", "output_blocks.", "time_embed.", "label_emb.", "out.")
# The empty tensors that ComfyUI looks for.
VELOCITY, NO_SIGNAL = "v_pred", "ztsnr"
# Counted on diffusers' own modules (meta device).
VAE_PARAMETERS, CLIP_L_PARAMETERS = 83_653_863, 123_060_480
ALIASES = {"M00": "MID", "MID00": "MID"}
PROVIDES = frozenset(
    {"cross_attention", "text_encoder", "fresh_denoiser", "controlnet", "t2i_adapter", "snr"}
)

LAYOUT = FileLayout(
    denoiser_config=infer_unet,
    denoiser_map=unet_map,
    hints=("attention_head_dim", "norm_num_groups", "sample_size", "upcast_attention"),
    widths="block_out_channels",
)


def row(kind: str, numbers: Sequence[int]) -> tuple[str, ...]:
    """Block names of one kind: IN00, IN01, ..."""
    return tuple(f"{kind}{number:02d}" for number in numbers)


def block_finder(config: Mapping[str, Any]) -> Callable[[str], str]:
    """From a module's path in a UNet of this config to IN00.., MID, OUT00.. or BASE."""
    names = unet_module_map(config)
    return lambda path: block_of(names, path)


def sketch(shapes: Mapping[str, tuple[int, ...]]) -> tuple[Config, str]:
    """Whether a UNet in one file is told sizes, the width of the text that it attends to, and how it projects."""
    told = f"{PREFIX}label_emb.0.0.weight"
    if told in shapes:
        return {"addition_embed_type": "text_time"}, told
    for name, shape in shapes.items():
        if name.startswith(PREFIX) and name.endswith(".attn2.to_k.weight") and len(shape) == 2:
            projection = shapes.get(f"{name.partition('.transformer_blocks.')[0]}.proj_in.weight", ())
            return {"cross_attention_dim": shape[1], "use_linear_projection": len(projection) == 2}, name
    return {}, ""


def file_marks(family: tuple[str, ...], spread: tuple[str, float] | None = None) -> SingleFileMarks:
    """How a file with this UNet is told; `family` and `spread` are those of SingleFileMarks."""
    return SingleFileMarks(
        family,
        START,
        BLOCKS,
        FIRST,
        roots=ROOTS,
        sketch=sketch,
        velocity=VELOCITY,
        no_signal=NO_SIGNAL,
        spread=spread,
    )
