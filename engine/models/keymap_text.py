"""The text encoders' parameter names in transformers and in single files (HF's or open_clip's)."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypeVar

from engine.models.family_spec import TextPart
from engine.models.keymap import KeyMap, Slot

LEVEL = "text_model."
_Value = TypeVar("_Value")

_LAYER = ("layer_norm1", "layer_norm2", "mlp.fc1", "mlp.fc2", "self_attn.out_proj")
_OPEN_LAYER = {
    "layer_norm1": "ln_1",
    "layer_norm2": "ln_2",
    "mlp.fc1": "mlp.c_fc",
    "mlp.fc2": "mlp.c_proj",
    "self_attn.out_proj": "attn.out_proj",
}


def text_map(part: TextPart, config: Mapping[str, Any]) -> KeyMap:
    """{parameter name with its `text_model.` level: its place in a single file}.

    `config` is a CLIPTextConfig as a dict (num_hidden_layers). A part with a projection (SDXL's second
    encoder) also has `text_projection.weight`, which open_clip stores transposed.
    """
    layers = int(config["num_hidden_layers"])
    if part.layout == "hf":
        return {name: Slot(part.prefix + name) for name in text_names(layers, part.projects)}
    return _open_clip(part.prefix, layers, part.projects)


def text_names(layers: int, projects: bool) -> Iterator[str]:
    """Every parameter's name in transformers, with its `text_model.` level."""
    yield from _parameters(layers)
    if projects:
        yield "text_projection.weight"


def _parameters(layers: int) -> Iterator[str]:
    yield f"{LEVEL}embeddings.token_embedding.weight"
    yield f"{LEVEL}embeddings.position_embedding.weight"
    for layer in range(layers):
        names = (*_LAYER, *(f"self_attn.{name}_proj" for name in "qkv"))
        for name in names:
            yield f"{LEVEL}encoder.layers.{layer}.{name}.weight"
            yield f"{LEVEL}encoder.layers.{layer}.{name}.bias"
    yield f"{LEVEL}final_layer_norm.weight"
    yield f"{LEVEL}final_layer_norm.bias"


def _open_clip(prefix: str, layers: int, projects: bool) -> KeyMap:
    pairs: KeyMap = {
        f"{LEVEL}embeddings.token_embedding.weight": Slot(f"{prefix}token_embedding.weight"),
        f"{LEVEL}embeddings.position_embedding.weight": Slot(f"{prefix}positional_embedding"),
        f"{LEVEL}final_layer_norm.weight": Slot(f"{prefix}ln_final.weight"),
        f"{LEVEL}final_layer_norm.bias": Slot(f"{prefix}ln_final.bias"),
    }
    if projects:
        pairs["text_projection.weight"] = Slot(f"{prefix}text_projection", "transposed")
    for layer in range(layers):
        ours, theirs = f"{LEVEL}encoder.layers.{layer}", f"{prefix}transformer.resblocks.{layer}"
        for suffix in ("weight", "bias"):
            for name in _LAYER:
                pairs[f"{ours}.{name}.{suffix}"] = Slot(f"{theirs}.{_OPEN_LAYER[name]}.{suffix}")
            pairs[f"{ours}.self_attn.q_proj.{suffix}"] = Slot(f"{theirs}.attn.in_proj_{suffix}", "q")
            pairs[f"{ours}.self_attn.k_proj.{suffix}"] = Slot(f"{theirs}.attn.in_proj_{suffix}", "k")
            pairs[f"{ours}.self_attn.v_proj.{suffix}"] = Slot(f"{theirs}.attn.in_proj_{suffix}", "v")
    return pairs


def with_level(state: Mapping[str, _Value]) -> dict[str, _Value]:
    """The same entries, each text model name with the `text_model.` level that every file format expects.

    transformers 5 leaves the level out of CLIPTextModel (not of CLIPTextModelWithProjection).
    """
    return {_leveled(key): value for key, value in state.items()}


def for_module(state: Mapping[str, _Value], module_keys: Iterable[str]) -> dict[str, _Value]:
    """The same entries under the names that a live module uses (`module_keys`: its state dict's)."""
    if any(key.startswith(LEVEL) for key in module_keys):
        return with_level(state)
    return {key.removeprefix(LEVEL): value for key, value in state.items()}


def _leveled(key: str) -> str:
    outside = key.startswith((LEVEL, "text_projection."))
    return key if outside else LEVEL + key
