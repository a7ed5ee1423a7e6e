"""Finds out what a diffusers folder is, from its configs and the headers of its weights."""

import json
from pathlib import Path

from engine.errors import UserError
from engine.models.detected import SUPPORTED, Detected, main_dtype, variant_of
from engine.tensorfiles.header import read_header, refuse_kind, sniff

MAX_CONFIG = 4_000_000
_STEMS = {
    "unet": "diffusion_pytorch_model",
    "vae": "diffusion_pytorch_model",
    "text_encoder": "model",
    "text_encoder_2": "model",
}
_OLD_STEMS = {"text_encoder": "pytorch_model", "text_encoder_2": "pytorch_model"}
_NEEDED = {
    "sd1": ("unet", "vae", "text_encoder", "tokenizer", "scheduler"),
    "sd2": ("unet", "vae", "text_encoder", "tokenizer", "scheduler"),
    "sdxl": ("unet", "vae", "text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2", "scheduler"),
}
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
    unet = _config(path / "unet" / "config.json")
    family, reasons = _family(path, unet)
    missing = [problem for part in _NEEDED[family] for problem in _missing(path, part)]
    if missing:
        raise UserError(
            f"{path} is not a whole diffusers folder: {', '.join(missing)} missing",
            why=f"a model of this family needs {', '.join(_NEEDED[family])}",
            fix="copy or download the missing files into the folder",
        )
    channels = unet.get("in_channels", 4)
    variant = variant_of(path, channels if isinstance(channels, int) else 0, reasons)
    scheduler = _config(path / "scheduler" / "scheduler_config.json")
    prediction = str(scheduler.get("prediction_type", "epsilon"))
    if prediction not in ("epsilon", "v_prediction"):
        raise UserError(
            f"{path} predicts {prediction!r}",
            why="scheduler/scheduler_config.json says so; epsilon and v_prediction are what sdtrain trains",
        )
    reasons.append(f"prediction type {prediction}: scheduler/scheduler_config.json")
    return Detected(
        path, "diffusers", family, prediction, variant, _dtype(path), _NEEDED[family], tuple(reasons)
    )


def weight_files(folder: Path, part: str) -> list[Path]:
    """The files that hold a part's weights, safetensors before pickles, full precision before a variant.

    Several files when the part is sharded; an empty list when there is none.
    """
    stems = [stem for stem in (_STEMS[part], _OLD_STEMS.get(part)) if stem]
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
    return lacking + (absent if files else [f"{part}/{_STEMS[part]}.safetensors"])


def _refuse_foreign(path: Path) -> None:
    index = path / "model_index.json"
    kind = str(_config(index).get("_class_name", "")) if index.is_file() else ""
    for start, what in _OTHERS.items():
        if what and kind.startswith(start):
            raise UserError(f"{path} is {what}", why=f"model_index.json says {kind}", fix=SUPPORTED)
    if (path / "unet" / "config.json").is_file():
        return
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
            why="it has config.json and no unet/",
            fix="give the folder above it, with model_index.json",
        )
    files = sorted([*path.glob("*.safetensors"), *path.glob("*.ckpt")])
    found = (
        f"it holds {', '.join(file.name for file in files[:3])}" if files else "it has no unet/config.json"
    )
    raise UserError(
        f"{path} is not a diffusers folder",
        why=found,
        fix="give the file itself" if files else "give a folder with model_index.json and unet/, or a file",
    )


def _family(path: Path, unet: dict[str, object]) -> tuple[str, list[str]]:
    """By the UNet's added conditioning and width; a narrow SD 2.x is told by its linear projections."""
    width = unet.get("cross_attention_dim")
    if unet.get("addition_embed_type") == "text_time":
        if not (path / "text_encoder").is_dir() and (width == 1280 or _has_no(path, "text_encoder")):
            raise UserError(
                f"{path} is the SDXL refiner",
                "its only text encoder is text_encoder_2",
                "give the SDXL base model: a refiner is not trained as a base",
            )
        return "sdxl", ["SDXL: the UNet takes size and crop (addition_embed_type is text_time)"]
    if width == 1024 or (width != 768 and unet.get("use_linear_projection") is True):
        return "sd2", [f"SD 2.x: the UNet attends to text of width {width}"]
    return "sd1", [f"SD 1.x: the UNet attends to text of width {width}"]


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


def _dtype(path: Path) -> str:
    """The UNet's dtype; every part's headers are read, so that a cut or false file is found before a run."""
    dtypes: dict[str, str] = {}
    for part in _STEMS:
        files = weight_files(path, part) if (path / part).is_dir() else []
        for file in files:
            kind = sniff(file)
            if kind == "safetensors":
                dtypes.setdefault(part, main_dtype(read_header(file).tensors.values()))
            elif kind != "pickle":
                raise refuse_kind(file, kind)
    return dtypes.get("unet", "unknown")
