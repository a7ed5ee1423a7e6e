"""Works out the UNet's config of a single file from the shapes of its tensors."""

from pathlib import Path
from typing import Any

from engine.models import keymap_unet
from engine.models.published import Config, Shapes, groups, odd, published, shape_of


def infer_unet(path: Path, family: str, shapes: Shapes) -> Config:
    """The family's published config, narrowed by the shapes under LDM names."""
    prefix = keymap_unet.PREFIX
    config = published(family, "unet")
    blocks = _down_blocks(prefix, shapes)
    if not blocks or any(not block for block in blocks):
        raise odd(path, "UNet", "its input blocks do not follow one another")
    widths = [block[-1][0] for block in blocks]
    attends = [block[-1][1] > 0 for block in blocks]
    layers = [len(block) for block in blocks]
    depths: list[Any] = [max(1, block[-1][1]) for block in blocks]
    context = next((shape[1] for name, shape in shapes.items() if name.endswith("attn2.to_k.weight")), None)
    projection = next((shape for name, shape in shapes.items() if name.endswith(".proj_in.weight")), None)
    if context is None or projection is None:
        raise odd(path, "UNet", "it has no cross-attention")
    config["in_channels"] = shape_of(path, shapes, f"{prefix}input_blocks.0.0.weight")[1]
    config["out_channels"] = shape_of(path, shapes, f"{prefix}out.2.weight")[0]
    config["block_out_channels"] = widths
    config["down_block_types"] = ["CrossAttnDownBlock2D" if each else "DownBlock2D" for each in attends]
    config["up_block_types"] = ["CrossAttnUpBlock2D" if each else "UpBlock2D" for each in reversed(attends)]
    config["layers_per_block"] = layers[0] if len(set(layers)) == 1 else layers
    if "transformer_layers_per_block" in config or set(depths) != {1}:
        depths[-1] = _depth(f"{prefix}middle_block.1.", shapes) if not attends[-1] else depths[-1]
        config["transformer_layers_per_block"] = depths
    config["cross_attention_dim"] = context
    if len(projection) == 2:
        config["use_linear_projection"] = True
    else:
        config.pop("use_linear_projection", None)
    if config.get("addition_embed_type"):
        config["projection_class_embeddings_input_dim"] = shape_of(
            path, shapes, f"{prefix}label_emb.0.0.weight"
        )[1]
    config["attention_head_dim"] = _heads(config["attention_head_dim"], widths)
    config["norm_num_groups"] = groups(config["norm_num_groups"], widths)
    return config


def _down_blocks(prefix: str, shapes: Shapes) -> list[list[tuple[int, int]]]:
    """(width, transformer depth) of each layer of each down block; a downsampler ends a block."""
    blocks: list[list[tuple[int, int]]] = [[]]
    number = 1
    while True:
        here = f"{prefix}input_blocks.{number}."
        resnet = shapes.get(f"{here}0.in_layers.2.weight")
        if resnet:
            blocks[-1].append((resnet[0], _depth(f"{here}1.", shapes)))
        elif f"{here}0.op.weight" in shapes:
            blocks.append([])
        else:
            return blocks
        number += 1


def _depth(prefix: str, shapes: Shapes) -> int:
    depth = 0
    while f"{prefix}transformer_blocks.{depth}.norm1.weight" in shapes:
        depth += 1
    return depth


def _heads(usual: Any, widths: list[int]) -> Any:
    """Head counts: SD 2.x and SDXL have heads of 64, SD 1.x a fixed count (here one that divides)."""
    if isinstance(usual, list):
        return [max(1, width // 64) for width in widths]
    heads = int(usual)
    while any(width % heads for width in widths):
        heads //= 2
    return heads
