"""Finds out what a base model is - family, prediction type, parts - from names and shapes, without torch.

The table of names `FOREIGN` lists what is refused by name.
"""

import re
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path

from engine.errors import UserError
from engine.models.detect_folder import detect_folder
from engine.models.detected import SUPPORTED, Detected, main_dtype, variant_of
from engine.models.family_spec import FamilySpec, SingleFileMarks
from engine.models.specs import FAMILIES
from engine.tensorfiles.header import Header, TensorInfo, read_header, refuse_kind, sniff


def detect(path: Path | str) -> Detected:
    """Looks at a diffusers folder, a .safetensors file or a .ckpt (the last one needs torch, which is then
    loaded).

    Raises UserError naming what the thing is when it cannot be a base: another architecture, a refiner, a
    LoRA, an embedding, a lone VAE, a ControlNet, a broken or cut file, a folder with parts missing.
    """
    path = Path(path).expanduser()
    if not path.exists():
        raise UserError(
            f"{path} does not exist", fix="give a diffusers folder or a .safetensors or .ckpt file"
        )
    if path.is_dir():
        return detect_folder(path)
    return detect_table(path, read_table(path))


def read_table(path: Path) -> Header:
    """Names, dtypes and shapes of a weights file, whichever of the two kinds it is."""
    kind = sniff(path)
    if kind == "safetensors":
        return read_header(path)
    if kind == "pickle":
        # By name: torch is loaded for a pickle only, and this module stays free of it.
        header: Header = import_module("engine.tensorfiles.pickles").read_table(path)
        return header
    raise refuse_kind(path, kind)


def detect_table(path: Path, header: Header) -> Detected:
    """The same for a single file whose names and shapes have been read."""
    tensors = header.tensors
    refuse_foreign(path, tensors)
    spec, marks, reasons = _family(path, tensors)
    entry = tensors.get(marks.first)
    channels = entry.shape[1] if entry is not None and len(entry.shape) == 4 else 0
    variant = variant_of(path, spec, channels, reasons)
    parts = _parts(path, spec, tensors)
    prediction = _prediction(path, marks, header, reasons)
    dtype = main_dtype(info for name, info in tensors.items() if name.startswith(marks.denoiser))
    return Detected(path, "single_file", spec.name, prediction, variant, dtype, parts, tuple(reasons))


# (pattern that some name must match, what the file then is, what to do). The order matters: the first match
# wins.
FOREIGN: tuple[tuple[str, str, str], ...] = (
    (r"\.(absmax|quant_map|quant_state.*|qweight|qzeros|scale_weight)$", "a quantised model",
     "training needs the fp16, bf16 or fp32 file of the model"),
    (r"(^|\.)(lora_(down|up|A|B)|lora\.(down|up)|lora_linear_layer|hada_w1_a|lokr_w1|oft_blocks|lora_magnitude_vector)"
     r"(\.|$|_)", "a LoRA (or another adapter), not a model",
     "give the base model that it was trained on; a LoRA can only be applied to one"),
    (r"^(emb_params|string_to_param|clip_[lgh]|<.*>)($|\.)", "a textual inversion embedding, not a model",
     "give the base model that it was trained on"),
    (r"^\d+\.[01]\.linear\d*\.", "a hypernetwork, not a model", "give the base model that it was trained on"),
    (r"(^|\.)(control_model|input_hint_block|controlnet_cond_embedding|zero_convs|controlnet_down_blocks)\.",
     "a ControlNet, not a base model",
     "give the base model; the ControlNet belongs to the method's own options"),
    (r"^(adapter\.)?body\.\d+\.(block1|resnets|in_conv|body)", "a T2I-Adapter, not a base model",
     "give the base model; the adapter belongs to the method's own options"),
    (r"^(ip_adapter|image_proj)\.", "an IP-Adapter, not a base model", ""),
    (r"motion_modules\.", "an AnimateDiff motion module, not a base model", ""),
    (r"^edm_(mean|std)$", "a Playground v2.5 model (EDM noise, not Stable Diffusion's)", ""),
    (r"(^|\.)joint_blocks\.\d+\.", "a Stable Diffusion 3 model (a transformer, no UNet)", ""),
    (r"(^|\.)(double_blocks|single_blocks)\.\d+\.|double_stream_modulation",
     "a FLUX model (a transformer, no UNet)", ""),
    (r"(^|\.)double_layers\.\d+\.attn", "an AuraFlow model (a transformer, no UNet)", ""),
    (r"clip_txt_mapper\.|down_blocks\.\d+\.\d+\.channelwise\.", "a Stable Cascade model", ""),
    (r"^(model\.diffusion_model\.|net\.|transformer\.|diffusion_model\.)?"
     r"(transformer_blocks|blocks|layers|cap_embedder|patch_embedding|patchify_proj|x_embedder|double_stream_blocks)\.",
     "a diffusion transformer, no Stable Diffusion UNet", ""),
)  # fmt: skip


def refuse_foreign(path: Path, tensors: Mapping[str, TensorInfo]) -> None:
    """Raises UserError when the names are those of something that is no base model."""
    if not tensors:
        raise UserError(f"{path} holds no tensors", fix="download or export the file again")
    starts = tuple(dict.fromkeys(spec.file.blocks for spec in FAMILIES.values() if spec.file is not None))
    has_denoiser = any(name.startswith(starts) for name in tensors)
    for pattern, what, fix in FOREIGN:
        if has_denoiser and "transformer, no" in what:
            continue
        found = next((name for name in tensors if re.search(pattern, name) and not _text_name(name)), None)
        if found is not None:
            raise UserError(f"{path} is {what}", why=f"it holds {found!r}", fix=fix or SUPPORTED)
    if not has_denoiser:
        raise _no_denoiser(path, tensors, starts)


def _text_name(name: str) -> bool:
    return name.startswith(("cond_stage_model.", "conditioner.", "text_encoders.", "text_model."))


def _no_denoiser(path: Path, tensors: Mapping[str, TensorInfo], starts: tuple[str, ...]) -> UserError:
    first = next(iter(tensors))
    if any(name.startswith(("down_blocks.", "unet.down_blocks.")) for name in tensors) and any(
        "time_embedding" in name for name in tensors
    ):
        return UserError(
            f"{path} is the UNet of a diffusers folder, not a whole model",
            why=f"it holds {first!r}",
            fix="give the folder that contains model_index.json",
        )
    if any(
        re.match(r"(first_stage_model\.|vae\.)?(en|de)coder\.(conv_in|down|up|mid)", name) for name in tensors
    ):
        return UserError(f"{path} is a VAE, not a whole model", why=f"it holds {first!r}", fix=SUPPORTED)
    if all(re.match(r"(cond_stage_model|conditioner|text_model|transformer)\.", name) for name in tensors):
        return UserError(
            f"{path} is a text encoder, not a whole model", why=f"it holds {first!r}", fix=SUPPORTED
        )
    lone = next(iter(tensors.values())).shape
    if len(tensors) == 1 and len(lone) == 2 and lone[1] in (768, 1024, 1280):
        return UserError(
            f"{path} is a textual inversion embedding, not a model", why=f"one tensor {list(lone)}"
        )
    return UserError(
        f"{path} is no model that sdtrain knows",
        why=f"nothing in it is named {' or '.join(starts)}...; its first tensor is {first!r}",
        fix=SUPPORTED,
    )


def _family(path: Path, tensors: Mapping[str, TensorInfo]) -> tuple[FamilySpec, SingleFileMarks, list[str]]:
    if any(name.startswith("conditioner.embedders.0.model.") for name in tensors):
        raise UserError(
            f"{path} is the SDXL refiner",
            why="it has open_clip as its only text encoder (conditioner.embedders.0.model)",
            fix="give the SDXL base model: a refiner is not trained as a base",
        )
    # The newest family first: its files may also hold what marks an older one's.
    for spec in reversed(FAMILIES.values()):
        marks = spec.file
        found = marks and next((name for name in tensors if name.startswith(marks.family)), None)
        if marks is not None and found:
            return spec, marks, [f"{spec.short}: its text encoder is named {found.split('.layers')[0]}"]
    raise UserError(
        f"{path} has no text encoder",
        why="the file holds a UNet, but none of cond_stage_model. and conditioner.embedders.",
        fix="give a whole checkpoint (UNet, VAE and text encoder in one file) or a diffusers folder",
    )


def _parts(path: Path, spec: FamilySpec, tensors: Mapping[str, TensorInfo]) -> tuple[str, ...]:
    prefixes = spec.file_prefixes()
    missing = [
        f"{part} ({prefix}*)"
        for part, prefix in prefixes.items()
        if not any(name.startswith(prefix) for name in tensors)
    ]
    if missing:
        raise UserError(
            f"{path} is not a whole model: {', '.join(missing)} is missing",
            why=f"a {spec.short} checkpoint holds {', '.join(prefixes)}",
            fix="give a checkpoint with everything in it, or a diffusers folder",
        )
    return tuple(prefixes)


def _prediction(path: Path, marks: SingleFileMarks, header: Header, reasons: list[str]) -> str:
    """Metadata, marker tensors, a .yaml beside the file, then for some families a tensor's spread."""
    said = header.metadata.get("modelspec.prediction_type", "").lower()
    if said in ("v", "v_prediction", "epsilon"):
        reasons.append(f"prediction type {said}: the file's metadata says so")
        return "epsilon" if said == "epsilon" else "v_prediction"
    if marks.velocity and marks.velocity in header.tensors:
        reasons.append(f"v-prediction: the file holds the marker {marks.velocity}")
        return "v_prediction"
    yaml = path.with_suffix(".yaml")
    if marks.yaml and yaml.is_file() and yaml.stat().st_size < 1_000_000:
        if re.search(r"parameterization:\s*[\"']?v\b", yaml.read_text(errors="replace")):
            reasons.append(f"v-prediction: {yaml.name} beside the file says so")
            return "v_prediction"
        reasons.append(f"epsilon: {yaml.name} beside the file names no v parameterization")
        return "epsilon"
    if marks.spread is not None:
        from engine.models.detect_values import prediction_by_spread

        return prediction_by_spread(path, header, *marks.spread, reasons)
    reasons.append("epsilon: what this family predicts unless the file says otherwise")
    return "epsilon"
