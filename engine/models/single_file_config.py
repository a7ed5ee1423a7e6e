"""Works out a single file's model configs: the family's published values, narrowed by the tensors' shapes.

Shapes decide widths and depths. What shapes cannot tell (attention heads, norm groups, the VAE's scaling
factor, the activation) comes from the file's own `sdtrain.config` metadata when sdtrain wrote it, else from
the family.
"""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from engine.errors import UserError
from engine.models.family_spec import VAE_PREFIX, FamilySpec, TextPart
from engine.models.published import Config, Shapes, odd, published, shape_of
from engine.models.specs import FAMILIES, file_layout
from engine.models.vae_config import infer_vae

METADATA_KEY = "sdtrain.config"

# What a file's metadata may say about itself; every value is checked, for the file is not ours to trust.
_VAE = ("norm_num_groups", "scaling_factor", "sample_size", "force_upcast")
_TEXT = (
    "num_hidden_layers",
    "num_attention_heads",
    "hidden_act",
    "eos_token_id",
    "bos_token_id",
    "pad_token_id",
)
_SCHEDULER = ("rescale_betas_zero_snr", "timestep_spacing")


def _hint_keys(spec: FamilySpec) -> dict[str, tuple[str, ...]]:
    texts = dict.fromkeys(spec.text_parts, _TEXT)
    return {spec.denoiser: file_layout(spec.name).hints, "vae": _VAE, **texts, "scheduler": _SCHEDULER}


def parts_of(family: str) -> tuple[str, ...]:
    """The parts that hold weights."""
    return FAMILIES[family].weight_parts


def infer_configs(path: Path, family: str, shapes: Shapes, metadata: Mapping[str, str]) -> dict[str, Config]:
    """The configs of all parts and of the scheduler, by the shapes of a file's tensors under LDM names; none of the
    VAE where the file has none."""
    spec = FAMILIES[family]
    hints = _read_hints(path, spec, metadata)
    layout = file_layout(family)
    configs = {spec.denoiser: layout.denoiser_config(path, family, shapes)}
    if any(name.startswith(VAE_PREFIX) for name in shapes):
        configs["vae"] = infer_vae(path, shapes, published(family, "vae"))
    for text in layouts(spec, shapes):
        told = hints.get(text.name, {}).pop("num_hidden_layers", None)
        configs[text.name] = _text(path, family, text, shapes, told)
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


def layouts(spec: FamilySpec, shapes: Shapes) -> tuple[TextPart, ...]:
    """The text encoders with the prefix and layout that this file has for each: a tool that takes a model apart and
    puts it together again may write any encoder as transformers names it."""
    return tuple(_layout(part, shapes) for part in spec.text)


def _layout(part: TextPart, shapes: Shapes) -> TextPart:
    if any(name.startswith(part.prefix) for name in shapes):
        return part
    kinds: tuple[tuple[Literal["hf", "open_clip"], str], ...] = (
        ("hf", "transformer."),
        ("open_clip", "model."),
    )
    for layout, level in kinds:
        if any(name.startswith(part.below + level) for name in shapes):
            return replace(part, layout=layout, prefix=part.below + level)
    return part


def _text(path: Path, family: str, part: TextPart, shapes: Shapes, told: int | None) -> Config:
    """A text encoder's config; `told` is how many layers the file itself says are used."""
    config = published(family, part.name)
    hf, prefix = part.layout == "hf", part.prefix
    base = f"{prefix}text_model." if hf else prefix
    layer = f"{base}encoder.layers." if hf else f"{base}transformer.resblocks."
    inner = "mlp.fc1.weight" if hf else "mlp.c_fc.weight"
    token = f"{base}embeddings.token_embedding.weight" if hf else f"{base}token_embedding.weight"
    place = f"{base}embeddings.position_embedding.weight" if hf else f"{base}positional_embedding"
    held = 0
    while f"{layer}{held}.{inner}" in shapes:
        held += 1
    if held < 1:
        raise odd(path, part.name, "it has no layers")
    vocabulary, width = shape_of(path, shapes, token)
    usual = width == config["hidden_size"]
    known = int(config["num_hidden_layers"]) if told is None and usual else told
    layers = _used_layers(part, held, known, shapes)
    if not layers <= held <= layers + part.unused_layers:
        raise odd(path, part.name, f"it has {held} layers where {layers} are used")
    config["vocab_size"], config["hidden_size"], config["num_hidden_layers"] = vocabulary, width, layers
    config["max_position_embeddings"] = shape_of(path, shapes, place)[0]
    config["intermediate_size"] = shape_of(path, shapes, f"{layer}0.{inner}")[0]
    if part.projects:
        projection = shape_of(
            path, shapes, f"{base}text_projection" if not hf else f"{prefix}text_projection.weight"
        )
        config["projection_dim"] = projection[0 if hf else 1]
    if not usual:
        config["num_attention_heads"] = max(1, width // 64)
    return config


def _used_layers(part: TextPart, held: int, known: int | None, shapes: Shapes) -> int:
    """How many of a text encoder's layers are read. Who writes the unused ones also writes the projection that is
    not used either, which tells for a narrow model whose file says nothing."""
    if known is not None:
        return known
    whole = any(
        name.startswith((part.prefix + "text_projection", part.prefix + "logit_scale")) for name in shapes
    )
    return max(1, held - part.unused_layers) if whole else held
