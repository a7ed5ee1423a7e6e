"""Finds out what a diffusers folder is, from its configs and the headers of its weights."""

import json
from collections.abc import Mapping
from pathlib import Path

from engine.errors import UserError
from engine.models.detected import SUPPORTED, Detected, main_dtype, variant_of
from engine.models.family_spec import FamilySpec
from engine.models.specs import FAMILIES
from engine.tensorfiles.header import read_header, refuse_kind, sniff

MAX_CONFIG = 4_000_000
_OTHERS = {
    "StableDiffusion3": "a Stable Diffusion 3 folder (a transformer, no UNet)",
    "Flux": "a FLUX folder (a transformer, no UNet)",
    "StableDiffusionXLImg2Img": "",
    "PixArt": "a PixArt folder (a transformer, no UNet)",
    "Sana": "a Sana folder (a transformer, no UNet)",
    "Kandinsky": "a Kandinsky folder",
    "StableCascade": "a Stable Cascade folder",
    "DeepFloyd": "a DeepFloyd folder",
    "IFPipeline": "a DeepFloyd folder",
    "StableDiffusionUpscale": "an upscaler",
    "StableDiffusionInstructPix2Pix": "an InstructPix2Pix folder",
}


def detect_folder(path: Path) -> Detected:
    """What a diffusers folder holds; UserError names it otherwise, or every file that is missing."""
    _refuse_foreign(path)
    spec, config, reason = _family(path)
    reasons = [reason]
    missing = [problem for part in spec.folder_parts for problem in _missing(path, part)]
    if missing:
        raise UserError(
            f"{path} is not a whole diffusers folder: {', '.join(missing)} missing",
            why=f"a model of this family needs {', '.join(spec.folder_parts)}",
            fix="copy or download the missing files into the folder",
        )
    channels = config.get("in_channels", spec.latent_channels)
    variant = variant_of(path, spec, channels if isinstance(channels, int) else 0, reasons)
    scheduler = _config(path / "scheduler" / "scheduler_config.json")
    prediction = str(scheduler.get("prediction_type", "epsilon"))
    if prediction not in ("epsilon", "v_prediction"):
        raise UserError(
            f"{path} predicts {prediction!r}",
            why="scheduler/scheduler_config.json says so; epsilon and v_prediction are what sdtrain trains",
        )
    reasons.append(f"prediction type {prediction}: scheduler/scheduler_config.json")
    dtype, parts = _dtype(path, spec), spec.folder_parts
    return Detected(path, "diffusers", spec.name, prediction, variant, dtype, parts, tuple(reasons))


def weight_files(folder: Path, part: str) -> list[Path]:
    """The files that hold a part's weights, safetensors before pickles, full precision before a variant.

    Several files when the part is sharded; an empty list when there is none.
    """
    stems = _stems(part)
    for ending in (".safetensors", ".bin"):
        for variant in ("", ".fp16", ".bf16"):
            for stem in stems:
                whole = folder / part / f"{stem}{variant}{ending}"
                if whole.is_file():
                    return [whole]
                shards = _shards(folder / part / f"{stem}{ending}.index{variant}.json") or _shards(
                    folder / part / f"{stem}{variant}{ending}.index.json"
                )
                if shards:
                    return shards
    return []


def _stems(part: str) -> tuple[str, ...]:
    """The names that a part's weights have, before variant and suffix; the usual one first."""
    return ("model", "pytorch_model") if part.startswith("text_encoder") else ("diffusion_pytorch_model",)


def _shards(index: Path) -> list[Path]:
    if not index.is_file():
        return []
    table = _config(index).get("weight_map")
    names = sorted({str(name) for name in table.values()}) if isinstance(table, dict) else []
    if any("/" in name or "\\" in name or name.startswith(".") for name in names):
        raise UserError(f"{index} names files outside its folder", fix="download the folder again")
    return [index.parent / name for name in names]


def _missing(path: Path, part: str) -> list[str]:
    """What a part lacks, as paths inside the folder."""
    if part == "scheduler":
        return [] if (path / part / "scheduler_config.json").is_file() else [f"{part}/scheduler_config.json"]
    if part.startswith("tokenizer"):
        if (path / part / "tokenizer.json").is_file():
            return []
        return [
            f"{part}/{name}" for name in ("vocab.json", "merges.txt") if not (path / part / name).is_file()
        ]
    lacking = [] if (path / part / "config.json").is_file() else [f"{part}/config.json"]
    files = weight_files(path, part)
    absent = [f"{part}/{file.name}" for file in files if not file.is_file()]
    return lacking + (absent if files else [f"{part}/{_stems(part)[0]}.safetensors"])


def _refuse_foreign(path: Path) -> None:
    index = path / "model_index.json"
    kind = str(_config(index).get("_class_name", "")) if index.is_file() else ""
    known = any(kind == spec.pipeline for spec in FAMILIES.values())
    for start, what in _OTHERS.items():
        if what and kind.startswith(start) and not known:
            raise UserError(f"{path} is {what}", why=f"model_index.json says {kind}", fix=SUPPORTED)
    denoisers = list(dict.fromkeys(spec.denoiser for spec in FAMILIES.values()))
    if any((path / part / "config.json").is_file() for part in denoisers):
        return
    lacking = " or ".join(f"{part}/" for part in denoisers)
    if (path / "transformer").is_dir():
        raise UserError(
            f"{path} is a model with a transformer, no UNet", why="it has transformer/", fix=SUPPORTED
        )
    if (path / "adapter_config.json").is_file() or list(path.glob("pytorch_lora_weights.*")):
        raise UserError(f"{path} holds a LoRA, not a model", fix="give the base model that it was trained on")
    own = path / "config.json"
    if own.is_file():
        name = str(_config(own).get("_class_name", "a part of a model"))
        raise UserError(
            f"{path} is one part of a diffusers folder ({name}), not a whole model",
            why=f"it has config.json and no {lacking}",
            fix="give the folder above it, with model_index.json",
        )
    files = sorted([*path.glob("*.safetensors"), *path.glob("*.ckpt")])
    found = (
        f"it holds {', '.join(file.name for file in files[:3])}"
        if files
        else f"it has no {lacking}config.json"
    )
    raise UserError(
        f"{path} is not a diffusers folder",
        why=found,
        fix="give the file itself"
        if files
        else f"give a folder with model_index.json and {lacking}, or a file",
    )


def _family(path: Path) -> tuple[FamilySpec, dict[str, object], str]:
    """The family, its denoiser's config, and what says so."""
    # The newest family first: the oldest takes what no other one knows.
    for spec in reversed(FAMILIES.values()):
        file = path / spec.denoiser / "config.json"
        config = _config(file) if file.is_file() else None
        reason = spec.recognise(config) if config is not None else ""
        if config is None or not reason:
            continue
        _refuse_refiner(path, config)
        return spec, config, reason
    raise UserError(f"{path} is a model of a kind that sdtrain does not know", fix=SUPPORTED)


def _refuse_refiner(path: Path, config: Mapping[str, object]) -> None:
    if config.get("addition_embed_type") != "text_time" or (path / "text_encoder").is_dir():
        return
    if config.get("cross_attention_dim") == 1280 or _has_no(path, "text_encoder"):
        raise UserError(
            f"{path} is the SDXL refiner",
            "its only text encoder is text_encoder_2",
            "give the SDXL base model: a refiner is not trained as a base",
        )


def _has_no(path: Path, part: str) -> bool:
    """Does the folder's index say that the model has no such part (as against one that was not copied)?"""
    index = path / "model_index.json"
    return index.is_file() and _config(index).get(part) == [None, None]


def _config(file: Path) -> dict[str, object]:
    if not file.is_file():
        raise UserError(f"{file} is missing", fix="copy or download the file into the folder")
    if file.stat().st_size > MAX_CONFIG:
        raise UserError(f"{file} is too large to be a config", why=f"over {MAX_CONFIG} bytes")
    try:
        data = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise UserError(f"{file} is not JSON", why=str(error), fix="download the file again") from error
    if not isinstance(data, dict):
        raise UserError(f"{file} is not a JSON object", fix="download the file again")
    return data


def _dtype(path: Path, spec: FamilySpec) -> str:
    """The denoiser's dtype; every part's headers are read, so that a cut or false file is found before a run."""
    dtypes: dict[str, str] = {}
    for part in spec.weight_parts:
        files = weight_files(path, part) if (path / part).is_dir() else []
        for file in files:
            kind = sniff(file)
            if kind == "safetensors":
                dtypes.setdefault(part, main_dtype(read_header(file).tensors.values()))
            elif kind != "pickle":
                raise refuse_kind(file, kind)
    return dtypes.get(spec.denoiser, "unknown")
