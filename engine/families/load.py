"""From a base model's place on disk to a loaded family, with no network."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from engine.errors import UserError
from engine.families.base import ModelFamily, frozen
from engine.families.other_vae import load_vae
from engine.families.registry import FAMILIES
from engine.families.single_file import read_single_file
from engine.families.tokenizers import load_tokenizer
from engine.families.weights import build, folder_part
from engine.models.detect import detect
from engine.models.detected import Detected
from engine.models.folder_weights import weight_files
from engine.models.published import published
from engine.models.tokenizer_folder import find_tokenizer


def load_family(
    path: Path, tokenizer: str | None = None, vae: str | None = None, prediction: str | None = None
) -> ModelFamily:
    """The model at `path` (a diffusers folder or a single file), frozen, in the dtype it was stored in, on the CPU.

    `prediction` is used in place of what the files say; see `_tokenizer` for the tokenizers.
    """
    found = detect(path)
    if found.family not in FAMILIES:
        raise UserError(
            f"{path} is a {found.family} model",
            "this version trains " + ", ".join(FAMILIES),
            "choose another base model",
        )
    if found.variant != "base":
        raise UserError(
            f"{path} is an {found.variant} model",
            f"an {found.variant} {FAMILIES[found.family].spec.denoiser_title} has more input channels",
            "choose the base model it was made from",
        )
    if found.doubt and prediction is None:
        raise UserError(
            f"what {path} predicts cannot be told",
            found.doubt,
            "set base.prediction to epsilon or v_prediction",
        )
    if "vae" not in found.parts and vae is None:
        raise UserError(
            f"{path} comes without a VAE",
            "pictures are encoded by it before they are trained on",
            "set base.vae to a VAE of the same family: a file, or a diffusers folder",
        )
    parts, configs = _from_folder(found) if found.kind == "diffusers" else _from_file(found)
    family = FAMILIES[found.family]
    if vae is not None:
        usual = configs.get("vae") or published(found.family, "vae")
        parts["vae"], configs["vae"] = load_vae(family.spec, vae, usual)
    tokenizers = {part: _tokenizer(found, part, tokenizer, configs[part]) for part in family.spec.text_parts}
    configs["scheduler"] = {**configs["scheduler"], "prediction_type": prediction or found.prediction}
    schedule = family.new_schedule(configs["scheduler"])
    return family({name: frozen(part) for name, part in parts.items()}, tokenizers, schedule, configs)


def _tokenizer(found: Detected, part: str, given: str | None, config: Mapping[str, Any]) -> Any:
    """A part's tokenizer: a diffusers folder's own, or CLIP's with the padding that the part was trained with; no
    longer than the part has positions for. UserError where it has words that the part does not know.

    OpenCLIP pads with token 0, CLIP with the end token; the denoiser sees those positions too.
    """
    tokenizer = _padded(found, part, given)
    positions, words = config.get("max_position_embeddings", 77), config.get("vocab_size", len(tokenizer))
    tokenizer.model_max_length = min(tokenizer.model_max_length, int(positions))
    if len(tokenizer) > words:
        raise UserError(
            f"the tokenizer of the {part} is another model's",
            f"it has {len(tokenizer)} words, and the {part} knows {words}",
            "leave base.tokenizer out, or name the tokenizer that belongs to this model",
        )
    return tokenizer


def _padded(found: Detected, part: str, given: str | None) -> Any:
    text = FAMILIES[found.family].spec.text_part(part)
    folder = find_tokenizer(found.path, given, part=text.tokenizer)
    tokenizer = load_tokenizer(folder)
    if found.kind == "diffusers" and given is None:
        return tokenizer
    zero = text.layout == "open_clip"
    pad = tokenizer.convert_ids_to_tokens(0) if zero else tokenizer.eos_token
    return tokenizer if tokenizer.pad_token == pad else load_tokenizer(folder, pad)


def _from_folder(found: Detected) -> tuple[dict[str, nn.Module], dict[str, Mapping[str, Any]]]:
    parts: dict[str, nn.Module] = {}
    configs: dict[str, Mapping[str, Any]] = {}
    spec = FAMILIES[found.family].spec
    for part in spec.weight_parts:
        if part not in found.parts:
            continue
        folder = found.path / part
        configs[part] = _json(folder / "config.json")
        parts[part] = build(
            spec, part, configs[part], folder_part(part, folder, weight_files(found.path, part)), folder
        )
    configs["scheduler"] = _json(found.path / "scheduler" / "scheduler_config.json")
    return parts, configs


def _from_file(found: Detected) -> tuple[dict[str, nn.Module], dict[str, Mapping[str, Any]]]:
    single = read_single_file(found.path)
    parts: dict[str, nn.Module] = {}
    spec = FAMILIES[found.family].spec
    for part in spec.weight_parts:
        if part not in found.parts:
            continue
        parts[part] = build(spec, part, single.configs[part], single.parts[part], found.path)
    return parts, dict(single.configs)


def _json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text())
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(
            f"cannot read {path}", str(error), "the model folder is incomplete: get it again"
        ) from error
    if not isinstance(value, dict):
        raise UserError(f"{path} is not a config", "it holds no JSON object", "get the model again")
    return value
