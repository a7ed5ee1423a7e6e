"""Finds out what a diffusers folder is, from its configs and the headers of its weights."""

from collections.abc import Mapping
from pathlib import Path

from engine.errors import UserError
from engine.models.detected import SUPPORTED, Detected, main_dtype, variant_of
from engine.models.family_spec import FamilySpec
from engine.models.folder_configs import check_configs
from engine.models.folder_weights import check_names, json_object, part_header, stems_of, weight_files
from engine.models.prediction import EPSILON, meaning
from engine.models.specs import FAMILIES

SHOWN = 20
"""Files of those that are missing that are named."""
_OTHER_NOISE = ("EDM", "FlowMatch")
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
    # base.vae may give what the folder has none of at all.
    parts = tuple(part for part in spec.folder_parts if part != "vae" or (path / part).is_dir())
    missing = [problem for part in parts for problem in _missing(path, part)]
    if missing:
        more = f" and {len(missing) - SHOWN:,} more" if len(missing) > SHOWN else ""
        raise UserError(
            f"{path} is not a whole diffusers folder: {', '.join(missing[:SHOWN])}{more} missing",
            why=f"a model of this family needs {', '.join(spec.folder_parts)}",
            fix="copy or download the missing files into the folder",
        )
    channels = config.get("in_channels", spec.latent_channels)
    variant = variant_of(path, spec, channels if isinstance(channels, int) else 0, reasons)
    prediction = _prediction(path, reasons)
    dtype = _dtype(path, spec)
    check_configs(path, spec)
    return Detected(path, "diffusers", spec.name, prediction, variant, dtype, parts, tuple(reasons))


def _prediction(path: Path, reasons: list[str]) -> str:
    file = "scheduler/scheduler_config.json"
    scheduler = json_object(path / file)
    kind = str(scheduler.get("_class_name", ""))
    if kind.startswith(_OTHER_NOISE) or scheduler.get("use_flow_sigmas") is True:
        raise UserError(
            f"{path} has another noise than Stable Diffusion's",
            why=f"{file} names {kind or 'use_flow_sigmas'}",
            fix=SUPPORTED,
        )
    said = str(scheduler.get("prediction_type", EPSILON))
    means = meaning(said)
    if means is None:
        raise UserError(
            f"{path} predicts {said[:40]!r}",
            why=f"{file} says so; epsilon and v_prediction are what sdtrain trains",
            fix="correct prediction_type in that file where you know better, or use another base",
        )
    reasons.append(f"prediction type {said}: {file}")
    return means


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
    return lacking + (absent if files else [f"{part}/{stems_of(part)[0]}.safetensors"])


def _refuse_foreign(path: Path) -> None:
    index = path / "model_index.json"
    kind = str(json_object(index).get("_class_name", "")) if index.is_file() else ""
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
        name = str(json_object(own).get("_class_name", "a part of a model"))
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
        config = json_object(file) if file.is_file() else None
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
    return index.is_file() and json_object(index).get(part) == [None, None]


def _dtype(path: Path, spec: FamilySpec) -> str:
    """The denoiser's dtype; every part's headers are read and compared with its config, so that a cut, false or
    incomplete file is found before a run."""
    dtypes: dict[str, str] = {}
    for part in spec.weight_parts:
        header = part_header(path, part) if (path / part).is_dir() else None
        if header is None or not header.tensors:
            continue
        dtypes[part] = main_dtype(header.tensors.values())
        check_names(spec, part, path / part, header)
    return dtypes.get(spec.denoiser, "unknown")
