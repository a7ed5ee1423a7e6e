"""Works out a single file's model configs: the family's published values, narrowed by the tensors' shapes.

Shapes decide widths and depths. What shapes cannot tell (attention heads, norm groups, the VAE's scaling
factor, the activation) comes from the file's own `sdtrain.config` metadata when sdtrain wrote it, else from
the family.
"""

import json
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from engine.errors import UserError
from engine.models import keymap_unet, keymap_vae
from engine.models.keymap_text import LAYOUTS

Shapes = Mapping[str, tuple[int, ...]]
Config = dict[str, Any]
METADATA_KEY = "sdtrain.config"
TEXT_PARTS = ("text_encoder", "text_encoder_2")

# What a file's metadata may say about itself; every value is checked, for the file is not ours to trust.
_HINTS: dict[str, tuple[str, ...]] = {
    "unet": ("attention_head_dim", "norm_num_groups", "sample_size", "upcast_attention"),
    "vae": ("norm_num_groups", "scaling_factor", "sample_size", "force_upcast"),
    "text_encoder": ("num_attention_heads", "hidden_act", "eos_token_id", "bos_token_id", "pad_token_id"),
    "text_encoder_2": ("num_attention_heads", "hidden_act", "eos_token_id", "bos_token_id", "pad_token_id"),
    "scheduler": ("rescale_betas_zero_snr", "timestep_spacing"),
}


@cache
def _published(family: str, part: str) -> str:
    folder = files("engine").joinpath("assets", "families", family)
    return folder.joinpath(f"{part}.json").read_text(encoding="utf-8")


def published(family: str, part: str) -> Config:
    """The family's own config of unet, vae, text_encoder, text_encoder_2 or scheduler, as published."""
    config: Config = json.loads(_published(family, part))
    return config


def parts_of(family: str) -> tuple[str, ...]:
    """The parts that hold weights."""
    return ("unet", "vae", *LAYOUTS[family])


def infer_configs(path: Path, family: str, shapes: Shapes, metadata: Mapping[str, str]) -> dict[str, Config]:
    """The configs of all parts and of the scheduler, by the shapes of a file's tensors under LDM names."""
    hints = _read_hints(path, metadata)
    configs = {"unet": _unet(path, family, shapes), "vae": _vae(path, family, shapes)}
    for part, (prefix, layout) in LAYOUTS[family].items():
        configs[part] = _text(path, family, part, prefix, layout, shapes)
    if "text_encoder_2" in configs:
        # The UNet is told the pooled text and six numbers (size, crop, target), each as an embedding of this
        # width.
        added = int(configs["unet"]["projection_class_embeddings_input_dim"])
        configs["unet"]["addition_time_embed_dim"] = (
            added - int(configs["text_encoder_2"]["projection_dim"])
        ) // 6
    configs["scheduler"] = published(family, "scheduler")
    for part, values in hints.items():
        if part in configs:
            configs[part].update(values)
    return configs


def hints_for(family: str, configs: Mapping[str, Config]) -> dict[str, str]:
    """Metadata that lets `infer_configs` find again what a non-standard model's shapes do not tell.

    Empty for a model with the family's published values, so that a standard file carries nothing of ours
    here.
    """
    different: dict[str, Config] = {}
    for part, keys in _HINTS.items():
        if part not in configs:
            continue
        plain = published(family, part)
        values = {key: configs[part][key] for key in keys if key in configs[part]}
        changed = {
            key: value for key, value in values.items() if plain.get(key) != value and value is not None
        }
        narrow = part == "unet" and list(configs[part]["block_out_channels"]) != plain["block_out_channels"]
        if changed or narrow:
            different[part] = {key: value for key, value in values.items() if value is not None}
    return {METADATA_KEY: json.dumps(different, sort_keys=True)} if different else {}


def _read_hints(path: Path, metadata: Mapping[str, str]) -> dict[str, Config]:
    raw = metadata.get(METADATA_KEY)
    if raw is None:
        return {}
    try:
        data = json.loads(raw)
    except (ValueError, RecursionError):
        data = None
    if not isinstance(data, dict):
        raise UserError(
            f"{path}: its metadata {METADATA_KEY} is not a JSON object", fix="export the file again"
        )
    hints: dict[str, Config] = {}
    for part, allowed in _HINTS.items():
        values = data.get(part, {})
        if not isinstance(values, dict):
            raise UserError(
                f"{path}: its metadata {METADATA_KEY}.{part} is not a table", fix="export it again"
            )
        for key in allowed:
            if key in values:
                hints.setdefault(part, {})[key] = _checked(path, part, key, values[key])
    return hints


def _checked(path: Path, part: str, key: str, value: Any) -> Any:
    counts = [value] if not isinstance(value, list) else value
    texts = ("timestep_spacing", "hidden_act")
    if key in texts:
        good = isinstance(value, str) and value.replace("_", "").isalnum() and len(value) < 32
    elif key == "scaling_factor":
        good = isinstance(value, float) and 0.0 < value < 100.0
    elif isinstance(value, bool):
        good = key in ("upcast_attention", "force_upcast", "rescale_betas_zero_snr")
    else:
        good = len(counts) <= 8 and all(type(item) is int and 0 <= item <= 1_000_000 for item in counts)
    if not good:
        raise UserError(
            f"{path}: its metadata gives {part}.{key} = {str(value)[:60]!r}",
            why="that is no value for it",
            fix="export the file again",
        )
    return value


def _unet(path: Path, family: str, shapes: Shapes) -> Config:
    prefix = keymap_unet.PREFIX
    config = published(family, "unet")
    blocks = _down_blocks(prefix, shapes)
    if not blocks or any(not block for block in blocks):
        raise _odd(path, "UNet", "its input blocks do not follow one another")
    widths = [block[-1][0] for block in blocks]
    attends = [block[-1][1] > 0 for block in blocks]
    layers = [len(block) for block in blocks]
    depths: list[Any] = [max(1, block[-1][1]) for block in blocks]
    context = next((shape[1] for name, shape in shapes.items() if name.endswith("attn2.to_k.weight")), None)
    projection = next((shape for name, shape in shapes.items() if name.endswith(".proj_in.weight")), None)
    if context is None or projection is None:
        raise _odd(path, "UNet", "it has no cross-attention")
    config["in_channels"] = _shape(path, shapes, f"{prefix}input_blocks.0.0.weight")[1]
    config["out_channels"] = _shape(path, shapes, f"{prefix}out.2.weight")[0]
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
        config["projection_class_embeddings_input_dim"] = _shape(
            path, shapes, f"{prefix}label_emb.0.0.weight"
        )[1]
    config["attention_head_dim"] = _heads(config["attention_head_dim"], widths)
    config["norm_num_groups"] = _groups(config["norm_num_groups"], widths)
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


def _groups(usual: int, widths: list[int]) -> int:
    """Norm groups: the usual 32, halved until they divide every width."""
    groups = usual
    while any(width % groups for width in widths):
        groups //= 2
    return groups


def _vae(path: Path, family: str, shapes: Shapes) -> Config:
    prefix = keymap_vae.PREFIX
    config = published(family, "vae")
    widths: list[int] = []
    layers = 0
    while (shape := shapes.get(f"{prefix}encoder.down.{len(widths)}.block.0.conv2.weight")) is not None:
        widths.append(shape[0])
    while f"{prefix}encoder.down.0.block.{layers}.conv2.weight" in shapes:
        layers += 1
    if not widths:
        raise _odd(path, "VAE", "it has no encoder")
    config["block_out_channels"], config["layers_per_block"] = widths, layers
    config["down_block_types"] = ["DownEncoderBlock2D"] * len(widths)
    config["up_block_types"] = ["UpDecoderBlock2D"] * len(widths)
    config["latent_channels"] = _shape(path, shapes, f"{prefix}decoder.conv_in.weight")[1]
    config["in_channels"] = _shape(path, shapes, f"{prefix}encoder.conv_in.weight")[1]
    config["out_channels"] = _shape(path, shapes, f"{prefix}decoder.conv_out.weight")[0]
    if f"{prefix}encoder.mid.attn_1.q.weight" not in shapes:
        config["mid_block_add_attention"] = False
    config["norm_num_groups"] = _groups(config["norm_num_groups"], widths)
    return config


def _text(path: Path, family: str, part: str, prefix: str, layout: str, shapes: Shapes) -> Config:
    config = published(family, part)
    hf = layout == "hf"
    base = f"{prefix}text_model." if hf else prefix
    layer = f"{base}encoder.layers." if hf else f"{base}transformer.resblocks."
    inner = "mlp.fc1.weight" if hf else "mlp.c_fc.weight"
    token = f"{base}embeddings.token_embedding.weight" if hf else f"{base}token_embedding.weight"
    place = f"{base}embeddings.position_embedding.weight" if hf else f"{base}positional_embedding"
    layers = 0
    while f"{layer}{layers}.{inner}" in shapes:
        layers += 1
    if family == "sd2":
        layers -= 1  # SD 2.x reads the last layer but one, and diffusers leaves the unused one out
    if layers < 1:
        raise _odd(path, part, "it has no layers")
    config["vocab_size"], width = _shape(path, shapes, token)
    config["hidden_size"], config["num_hidden_layers"] = width, layers
    config["max_position_embeddings"] = _shape(path, shapes, place)[0]
    config["intermediate_size"] = _shape(path, shapes, f"{layer}0.{inner}")[0]
    if part == "text_encoder_2":
        config["projection_dim"] = _shape(path, shapes, f"{base}text_projection")[1]
    if width != published(family, part)["hidden_size"]:
        config["num_attention_heads"] = max(1, width // 64)
    return config


def _shape(path: Path, shapes: Shapes, name: str) -> tuple[int, ...]:
    shape = shapes.get(name)
    if shape is None or len(shape) < 2:
        raise UserError(
            f"{path} is not a whole model: {name} is missing",
            why="every checkpoint of this family has that tensor",
            fix="download or export the file again",
        )
    return shape


def _odd(path: Path, part: str, why: str) -> UserError:
    return UserError(
        f"{path} has a {part} that sdtrain cannot make out", why=why, fix="use a diffusers folder"
    )
