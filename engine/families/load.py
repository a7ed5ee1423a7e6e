"""From a base model's place on disk to a loaded family, with no network."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import nn

from engine.errors import UserError
from engine.families.base import ModelFamily, frozen
from engine.families.registry import FAMILIES
from engine.families.single_file import read_single_file
from engine.families.tokenizers import load_tokenizer
from engine.models.detect import detect
from engine.models.detect_folder import weight_files
from engine.models.detected import Detected
from engine.models.family_spec import FamilySpec
from engine.models.tokenizer_folder import find_tokenizer
from engine.tensorfiles.memory import own_module


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
    parts, configs = _from_folder(found) if found.kind == "diffusers" else _from_file(found)
    if vae is not None:
        parts["vae"], configs["vae"] = _other_vae(FAMILIES[found.family].spec, Path(vae))
    family = FAMILIES[found.family]
    tokenizers = {part: _tokenizer(found, part, tokenizer) for part in family.spec.text_parts}
    configs["scheduler"] = {**configs["scheduler"], "prediction_type": prediction or found.prediction}
    schedule = family.new_schedule(configs["scheduler"])
    return family({name: frozen(part) for name, part in parts.items()}, tokenizers, schedule, configs)


def _tokenizer(found: Detected, part: str, given: str | None) -> Any:
    """A part's tokenizer: a diffusers folder's own, or CLIP's with the padding that the part was trained with.

    OpenCLIP pads with token 0, CLIP with the end token; the denoiser sees those positions too.
    """
    text = FAMILIES[found.family].spec.text_part(part)
    folder = find_tokenizer(found.path, given, part=text.tokenizer)
    tokenizer = load_tokenizer(folder)
    if found.kind == "diffusers" and given is None:
        return tokenizer
    zero = text.layout == "open_clip"
    pad = tokenizer.convert_ids_to_tokens(0) if zero else tokenizer.eos_token
    return tokenizer if tokenizer.pad_token == pad else load_tokenizer(folder, pad)


def model_class(spec: FamilySpec, part: str) -> Any:
    """The class of a part, by its folder name in a diffusers model."""
    library, name = spec.classes[part]
    return getattr(import_module(library), name)


def _from_folder(found: Detected) -> tuple[dict[str, nn.Module], dict[str, Mapping[str, Any]]]:
    parts: dict[str, nn.Module] = {}
    configs: dict[str, Mapping[str, Any]] = {}
    spec = FAMILIES[found.family].spec
    for part in spec.weight_parts:
        folder = found.path / part
        configs[part] = _json(folder / "config.json")
        parts[part] = _load_part(spec, part, folder, _variant(found.path, part))
    configs["scheduler"] = _json(found.path / "scheduler" / "scheduler_config.json")
    return parts, configs


def _load_part(spec: FamilySpec, part: str, folder: Path, variant: str | None = None) -> nn.Module:
    """A part from its folder; the libraries map its files, so it is moved before the next part is opened."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            module: nn.Module = model_class(spec, part).from_pretrained(
                folder, local_files_only=True, torch_dtype=stored_dtype(folder), variant=variant
            )
    except (OSError, ValueError, RuntimeError) as error:
        raise UserError(
            f"cannot load {folder}",
            str(error).splitlines()[0],
            "check that the folder is a whole diffusers model",
        ) from error
    return own_module(module)


def _variant(path: Path, part: str) -> str | None:
    """fp16 or bf16 where a folder holds a part's weights under such a name only."""
    names = [file.name for file in weight_files(path, part)]
    return next((kind for kind in ("fp16", "bf16") if any(f".{kind}" in name for name in names)), None)


def stored_dtype(folder: Path) -> torch.dtype:
    """The dtype that a part's weights have on disk; fp32 where there is no safetensors file to ask."""
    from engine.tensorfiles.header import read_header

    kinds = {"F16": torch.float16, "BF16": torch.bfloat16, "F32": torch.float32}
    for file in sorted(folder.glob("*.safetensors")):
        for info in read_header(file).tensors.values():
            if info.dtype in kinds:
                return kinds[info.dtype]
    return torch.float32


def _from_file(found: Detected) -> tuple[dict[str, nn.Module], dict[str, Mapping[str, Any]]]:
    single = read_single_file(found.path)
    parts: dict[str, nn.Module] = {}
    spec = FAMILIES[found.family].spec
    for part in spec.weight_parts:
        parts[part] = build(spec, part, single.configs[part], single.parts[part])
    return parts, dict(single.configs)


def build(
    spec: FamilySpec, part: str, config: Mapping[str, Any], state: Mapping[str, torch.Tensor]
) -> nn.Module:
    """A module from its config with these weights, without initialising it first."""
    kind = model_class(spec, part)
    with torch.device("meta"):
        if part.startswith("text_encoder"):
            module: nn.Module = kind(kind.config_class(**config))
        else:
            module = kind.from_config(dict(config))
    if part.startswith("text_encoder"):
        from engine.models.keymap_text import for_module

        state = for_module(state, module.state_dict().keys())
    missing, unexpected = module.load_state_dict(dict(state), strict=False, assign=True)
    if missing:
        raise UserError(
            f"the {part} in the file lacks {len(missing)} tensors",
            f"for example {missing[0]}",
            "the file is incomplete: get it again",
        )
    assert not unexpected, unexpected[:3]
    _fill_buffers(module)
    return module


def _fill_buffers(module: nn.Module) -> None:
    # Buffers that no file stores (position ids) stay on the meta device after an assigning load.
    for owner in module.modules():
        for name, buffer in list(owner.named_buffers(recurse=False)):
            if buffer.is_meta:
                assert name == "position_ids", name
                filled = torch.arange(buffer.shape[-1]).expand(buffer.shape)
                owner.register_buffer(name, filled, persistent=False)


def _other_vae(spec: FamilySpec, path: Path) -> tuple[nn.Module, Mapping[str, Any]]:
    folder = path / "vae" if (path / "vae").is_dir() else path
    if not (folder / "config.json").is_file():
        raise UserError(
            f"base.vae: {path} has no config.json",
            "a VAE is given as a diffusers folder",
            "name a folder with config.json and diffusion_pytorch_model.safetensors",
        )
    return _load_part(spec, "vae", folder), _json(folder / "config.json")


def _json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise UserError(
            f"cannot read {path}", str(error), "the model folder is incomplete: get it again"
        ) from error
    if not isinstance(value, dict):
        raise UserError(f"{path} is not a config", "it holds no JSON object", "get the model again")
    return value
