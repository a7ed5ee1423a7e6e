"""Works out a single file's model configs: the family's published values, narrowed by the tensors' shapes.

Shapes decide widths and depths. What shapes cannot tell (attention heads, norm groups, the VAE's scaling
factor, the activation) comes from the file's own `sdtrain.config` metadata when sdtrain wrote it, else from
the family.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from engine.errors import UserError
from engine.families.published import Config, Shapes, groups, odd, published, shape_of
from engine.families.registry import file_layout
from engine.models import keymap_vae
from engine.models.family_spec import FamilySpec, TextPart
from engine.models.specs import FAMILIES

METADATA_KEY = "sdtrain.config"

# What a file's metadata may say about itself; every value is checked, for the file is not ours to trust.
_VAE = ("norm_num_groups", "scaling_factor", "sample_size", "force_upcast")
_TEXT = ("num_attention_heads", "hidden_act", "eos_token_id", "bos_token_id", "pad_token_id")
_SCHEDULER = ("rescale_betas_zero_snr", "timestep_spacing")


def _hint_keys(spec: FamilySpec) -> dict[str, tuple[str, ...]]:
    texts = dict.fromkeys(spec.text_parts, _TEXT)
    return {spec.denoiser: file_layout(spec.name).hints, "vae": _VAE, **texts, "scheduler": _SCHEDULER}


def parts_of(family: str) -> tuple[str, ...]:
    """The parts that hold weights."""
    return FAMILIES[family].weight_parts


def infer_configs(path: Path, family: str, shapes: Shapes, metadata: Mapping[str, str]) -> dict[str, Config]:
    """The configs of all parts and of the scheduler, by the shapes of a file's tensors under LDM names."""
    spec = FAMILIES[family]
    hints = _read_hints(path, spec, metadata)
    layout = file_layout(family)
    configs = {spec.denoiser: layout.denoiser_config(path, family, shapes), "vae": _vae(path, family, shapes)}
    for text in spec.text:
        configs[text.name] = _text(path, family, text, shapes)
    layout.complete(configs)
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
    spec = FAMILIES[family]
    for part, keys in _hint_keys(spec).items():
        if part not in configs:
            continue
        plain = published(family, part)
        values = {key: configs[part][key] for key in keys if key in configs[part]}
        changed = {
            key: value for key, value in values.items() if plain.get(key) != value and value is not None
        }
        widths = file_layout(family).widths
        narrow = part == spec.denoiser and list(configs[part][widths]) != plain[widths]
        if changed or narrow:
            different[part] = {key: value for key, value in values.items() if value is not None}
    return {METADATA_KEY: json.dumps(different, sort_keys=True)} if different else {}


def _read_hints(path: Path, spec: FamilySpec, metadata: Mapping[str, str]) -> dict[str, Config]:
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
    for part, allowed in _hint_keys(spec).items():
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
        raise odd(path, "VAE", "it has no encoder")
    config["block_out_channels"], config["layers_per_block"] = widths, layers
    config["down_block_types"] = ["DownEncoderBlock2D"] * len(widths)
    config["up_block_types"] = ["UpDecoderBlock2D"] * len(widths)
    config["latent_channels"] = shape_of(path, shapes, f"{prefix}decoder.conv_in.weight")[1]
    config["in_channels"] = shape_of(path, shapes, f"{prefix}encoder.conv_in.weight")[1]
    config["out_channels"] = shape_of(path, shapes, f"{prefix}decoder.conv_out.weight")[0]
    if f"{prefix}encoder.mid.attn_1.q.weight" not in shapes:
        config["mid_block_add_attention"] = False
    config["norm_num_groups"] = groups(config["norm_num_groups"], widths)
    return config


def _text(path: Path, family: str, part: TextPart, shapes: Shapes) -> Config:
    config = published(family, part.name)
    hf, prefix = part.layout == "hf", part.prefix
    base = f"{prefix}text_model." if hf else prefix
    layer = f"{base}encoder.layers." if hf else f"{base}transformer.resblocks."
    inner = "mlp.fc1.weight" if hf else "mlp.c_fc.weight"
    token = f"{base}embeddings.token_embedding.weight" if hf else f"{base}token_embedding.weight"
    place = f"{base}embeddings.position_embedding.weight" if hf else f"{base}positional_embedding"
    layers = 0
    while f"{layer}{layers}.{inner}" in shapes:
        layers += 1
    layers -= part.unused_layers  # diffusers leaves them out
    if layers < 1:
        raise odd(path, part.name, "it has no layers")
    config["vocab_size"], width = shape_of(path, shapes, token)
    config["hidden_size"], config["num_hidden_layers"] = width, layers
    config["max_position_embeddings"] = shape_of(path, shapes, place)[0]
    config["intermediate_size"] = shape_of(path, shapes, f"{layer}0.{inner}")[0]
    if part.projects:
        config["projection_dim"] = shape_of(path, shapes, f"{base}text_projection")[1]
    if width != published(family, part.name)["hidden_size"]:
        config["num_attention_heads"] = max(1, width // 64)
    return config
