"""SimpleTuner's config.json: its command line's options, with or without their dashes.

Source of names and defaults: OPTIONS.md and the argument parser of SimpleTuner.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from engine.errors import UserError
from engine.plan import other_tools
from engine.planning.imports.base import Reading, Tool, number, place, side

_FAMILIES = {"sdxl": "sdxl", "sd1x": "sd1", "sd15": "sd1", "sd2x": "sd2", "legacy": "auto"}
_METHODS = {"lora": "lora", "full": "full"}
DEFAULTS: dict[str, Any] = {
    "lora_rank": 16,
    "caption_dropout_probability": 0.0,
    "gradient_accumulation_steps": 1,
}
_SIGNS = {"data_backend_config", "model_type", "model_family", "lora_type", "validation_num_inference_steps"}


def read(content: Any, path: Path, method: str) -> Reading | None:
    """The settings of such a file; none for another one."""
    if not isinstance(content, dict):
        return None
    settings = {other_tools.plain_name(name.lstrip("-")): value for name, value in content.items()}
    if len(settings.keys() & _SIGNS) < 2:
        return None
    kind = method or _METHODS.get(str(settings.get("model_type", "full")), "")
    if not kind:
        what = f"{path} trains a {settings.get('model_type')}"
        raise UserError(what, "lora and full are read", "say it: --set method=...")
    defaults = {name: value for name, value in DEFAULTS.items() if kind == "lora" or name != "lora_rank"}
    made = Reading("SimpleTuner", settings, kind, path.parent, defaults)
    made.done.add("model_type")
    _family(made, path)
    _data(made)
    _length(made)
    _lora(made)
    _previews(made)
    made.rest()
    made.finish()
    return made


def _family(made: Reading, path: Path) -> None:
    family = str(made.get("model_family") or "")
    if family and family not in _FAMILIES:
        why = "Stable Diffusion 1.x, 2.x and SDXL are trained here"
        raise UserError(f"{path} trains a model of the family {family}", why, "take another base model")
    if family:
        made.take("model_family", "base.family", _FAMILIES[family])
    if made.given("pretrained_model_name_or_path"):
        name = "pretrained_model_name_or_path"
        made.take(name, "base.model", place(made.get(name), made.beside))
    if made.given("pretrained_vae_model_name_or_path"):
        name = "pretrained_vae_model_name_or_path"
        made.take(name, "base.vae", place(made.get(name), made.beside))


def _data(made: Reading) -> None:
    if made.given("data_backend_config"):
        # The path is read from where its program is started, which is the folder around config/.
        value = place(made.get("data_backend_config"), made.beside)
        value = place(value, made.beside.parent)
        made.take("data_backend_config", "data.path", value, "its local sets are read")
    if str(made.get("resolution_type") or "pixel_area") == "area" and made.given("resolution"):
        pixels = round(number(made.get("resolution")) ** 0.5 * 1000)
        made.take("resolution", "data.resolution", side(pixels), "megapixels there")
    made.take("caption_dropout_probability", "data.caption_dropout")
    made.leave("resolution_type", "data.resolution is the side of a square")


def _length(made: Reading) -> None:
    for name in ("max_train_steps", "num_train_epochs"):
        if made.given(name) and number(made.get(name)) == 0:
            made.leave(name, "it is off there")
    if str(made.get("lr_scheduler")) == "constant":
        made.leave("lr_warmup_steps", "the schedule constant has no warm-up there")


def _lora(made: Reading) -> None:
    if made.method != "lora":
        return
    if str(made.get("lora_type") or "standard").lower() == "lycoris":
        why = "the rank and kind stand in its lycoris_config, which is not read: set lora.kind, lora.rank, lora.alpha"
        made.leave("lycoris_config", why)
        made.done |= {"lora_rank", "lora_alpha"}
    elif not made.given("lora_alpha"):
        made.add("lora.alpha", number(made.get("lora_rank")), "alpha is the rank there")
    made.leave("lora_type", "lora.kind says it")


def _previews(made: Reading) -> None:
    named = {
        "validation_guidance": "samples.guidance",
        "validation_num_inference_steps": "samples.steps",
        "validation_negative_prompt": "samples.negative",
        "validation_seed": "samples.seed",
        "validation_steps": "samples.every",
        "caption_dropout_probability": "data.caption_dropout",
        "optimizer": "optimizer.name",
    }
    for name, key in named.items():
        if made.given(name):
            made.take(name, key)
    if made.given("validation_resolution"):
        width, _, height = str(made.get("validation_resolution")).partition("x")
        made.take("validation_resolution", "samples.width", width)
        if height:
            made.add("samples.height", int(number(height)), "the second of validation_resolution")


TOOL = Tool("simpletuner", "SimpleTuner", read)
