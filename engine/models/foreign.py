"""What is no base model, by the names of its tensors; the table `FOREIGN` lists it."""

import re
from collections.abc import Mapping
from pathlib import Path

from engine.errors import UserError
from engine.models.detected import SUPPORTED
from engine.models.specs import FAMILIES
from engine.tensorfiles.header import TensorInfo

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
    (r"^edm_vpred\.", "a CosXL model (EDM noise, not Stable Diffusion's)", ""),
    (r"^(embedder\.model\.visual|noise_augmentor)\.", "an unCLIP model (its UNet is also told a picture)", ""),
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


_VAE = re.compile(r"(first_stage_model\.|vae\.)?(en|de)coder\.(conv_in|down|up|mid)")


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
    if averaged := next((name for name in tensors if name.startswith("model_ema.diffusion_model")), None):
        return UserError(
            f"{path} holds the averaged (EMA) weights of its UNet only",
            why=f"it has {averaged!r} and nothing named {' or '.join(starts)}...",
            fix="get the file of the model with its plain weights, or have the tool that made it write them",
        )
    lone_unet = next((name for name in tensors if re.match(r"input_blocks\.\d", name)), None)
    if lone_unet:
        return UserError(
            f"{path} is a UNet alone, not a whole model",
            why=f"it holds {lone_unet!r} and no VAE or text encoder",
            fix="give a checkpoint with everything in it, or a diffusers folder",
        )
    vae = [name for name in tensors if _VAE.match(name)]
    if vae and (text := next((name for name in tensors if _text_name(name)), None)):
        return UserError(
            f"{path} has no UNet",
            why=f"it holds {vae[0]!r} and {text!r}, and nothing named {' or '.join(starts)}...",
            fix="give a checkpoint with everything in it, or a diffusers folder",
        )
    if vae:
        return UserError(f"{path} is a VAE, not a whole model", why=f"it holds {vae[0]!r}", fix=SUPPORTED)
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
