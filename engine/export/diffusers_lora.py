"""LoRA as diffusers' `load_lora_weights` reads it: peft's own names, and the strength in the matrices."""

import json

import torch

from engine.errors import UserError
from engine.export.base import TRAINED, Composed, ExportRequest, Format, common_metadata
from engine.export.lora import DOWN, UP, Pair, is_dora, of_one_rank, pairs_of, some_attention
from engine.export.lycoris import kind_of
from engine.models.keymap_text import LEVEL

# diffusers.loaders.lora_base.LORA_ADAPTER_METADATA_KEY
METADATA_KEY = "lora_adapter_metadata"
# With ".weight": peft takes the name with and without, transformers' own loader (text encoders) only with.
MAGNITUDE = ".lora_magnitude_vector.weight"


def compose(request: ExportRequest) -> Composed:
    """Raw peft names for every module; diffusers' loader drops a part of files with mixed names.

    Older releases (0.32) know nothing of the metadata: they take alpha for the rank of a part's first pair. So the
    strength is multiplied into lora_B, all pairs have one rank, and alpha is that rank.
    """
    if kind_of(request.artifact) != "lora":
        raise UserError(
            f"a {kind_of(request.artifact)} cannot be exported in the diffusers layout",
            why="diffusers' loader reads pairs only",
            fix="export it with --format kohya, which ComfyUI and AUTOMATIC1111 read",
        )
    pairs = of_one_rank(some_attention(pairs_of(request.artifact)))
    dora = is_dora(request.artifact)
    tensors: dict[str, torch.Tensor] = {}
    for pair in pairs:
        path = f"{pair.part}.{pair.module}"
        tensors[path + DOWN] = pair.down
        tensors[path + UP] = pair.up if pair.scale == 1.0 else pair.up * pair.scale
        if pair.magnitude is not None:
            tensors[path + MAGNITUDE] = pair.magnitude
    settings: dict[str, object] = {}
    for part in dict.fromkeys(pair.part for pair in pairs):
        of_part = [pair for pair in pairs if pair.part == part]
        settings |= {f"{part}.{key}": value for key, value in _config(of_part, dora).items()}
    notes = common_metadata(request)
    notes[METADATA_KEY] = json.dumps(settings, sort_keys=True)
    return Composed(tensors, notes)


def _config(pairs: list[Pair], dora: bool) -> dict[str, object]:
    """One part's peft LoraConfig.

    Only settings that every peft since 0.9 knows: an unknown one makes the file unreadable. Text encoder
    paths leave out `text_model.`, which matches models with and without that level.
    """
    rank = pairs[0].rank
    return {
        "r": rank,
        "lora_alpha": rank,
        "lora_dropout": 0.0,
        "bias": "none",
        "target_modules": sorted(pair.module.removeprefix(LEVEL) for pair in pairs),
        "use_rslora": False,
        "use_dora": dora,
        "rank_pattern": {},
        "alpha_pattern": {},
    }


FORMAT = Format(
    name="diffusers",
    title="diffusers LoRA",
    extension=".safetensors",
    kind="lora",
    families=TRAINED,
    opens_in=("diffusers",),
    compose=compose,
    folder="diffusers",
)
