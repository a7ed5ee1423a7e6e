"""diffusers' example scripts: the line `accelerate launch train_....py ...` that starts one.

Source of names and defaults: the argument parsers of the scripts below `examples/` in diffusers.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from engine.planning.imports.base import Reading, Tool, number, place, truth
from engine.planning.imports.command import Command

_COMMON: dict[str, Any] = {
    "lr_scheduler": "constant",
    "lr_num_cycles": 1,
    "lr_power": 1.0,
    "lr_warmup_steps": 500,
    "gradient_accumulation_steps": 1,
    "adam_beta1": 0.9,
    "adam_beta2": 0.999,
    "adam_weight_decay": 1e-2,
    "adam_epsilon": 1e-8,
    "max_grad_norm": 1.0,
    "checkpointing_steps": 500,
    "mixed_precision": "no",
}
_LORA: dict[str, Any] = {"rank": 4}
_TEXT: dict[str, Any] = {
    "learning_rate": 1e-4,
    "train_batch_size": 16,
    "num_train_epochs": 100,
    "resolution": 512,
}
_DREAM: dict[str, Any] = {
    "train_batch_size": 4,
    "num_train_epochs": 1,
    "resolution": 512,
    "prior_loss_weight": 1.0,
}
_WORD: dict[str, Any] = {
    "learning_rate": 1e-4,
    "train_batch_size": 16,
    "num_train_epochs": 100,
    "max_train_steps": 5000,
    "resolution": 512,
    "num_vectors": 1,
}
_CONTROL: dict[str, Any] = {
    "learning_rate": 5e-6,
    "train_batch_size": 4,
    "num_train_epochs": 1,
    "resolution": 512,
}
_XL: dict[str, Any] = {"resolution": 1024}
SCRIPTS: Mapping[str, tuple[str, str, dict[str, Any]]] = {
    "train_text_to_image": ("full", "", _TEXT),
    "train_text_to_image_sdxl": ("full", "sdxl", _TEXT | _XL),
    "train_text_to_image_lora": ("lora", "", _TEXT | _LORA),
    "train_text_to_image_lora_sdxl": ("lora", "sdxl", _TEXT | _LORA | _XL),
    "train_dreambooth": ("dreambooth", "", _DREAM | {"learning_rate": 5e-6}),
    "train_dreambooth_lora": ("lora", "", _DREAM | _LORA | {"learning_rate": 5e-4}),
    "train_dreambooth_lora_sdxl": ("lora", "sdxl", _DREAM | _LORA | _XL | {"learning_rate": 1e-4}),
    "textual_inversion": ("textual_inversion", "", _WORD),
    "textual_inversion_sdxl": ("textual_inversion", "sdxl", _WORD),
    "train_controlnet": ("controlnet", "", _CONTROL),
    "train_controlnet_sdxl": ("controlnet", "sdxl", _CONTROL),
    "train_t2i_adapter_sdxl": ("t2i_adapter", "sdxl", _CONTROL | _XL),
}
"""Its scripts, each with the method, the family and its own defaults."""


def read(content: Any, path: Path, method: str) -> Reading | None:
    """The options of one of its scripts; none for another command."""
    if not isinstance(content, Command) or content.script not in SCRIPTS:
        return None
    kind, family, own = SCRIPTS[content.script]
    before = {name: value for name, value in content.before.items() if name == "mixed_precision"}
    settings = {**before, **content.options}
    made = Reading(
        f"diffusers' {content.script}.py", settings, method or kind, path.parent, {**_COMMON, **own}
    )
    if family:
        made.add("base.family", family, "the script")
    _unset(made)
    _paths(made)
    _data(made)
    _length(made)
    _parts(made)
    _optimizer(made)
    _previews(made)
    made.rest()
    made.finish()
    return made


def _unset(made: Reading) -> None:
    for name, value in made.settings.items():
        if isinstance(value, str) and value.startswith("$"):
            made.leave(name, f"the shell's {value} is not set in what was given")


def _paths(made: Reading) -> None:
    named = {
        "pretrained_model_name_or_path": "base.model",
        "pretrained_vae_model_name_or_path": "base.vae",
        "controlnet_model_name_or_path": "{method}.start",
        "adapter_model_name_or_path": "{method}.start",
        "train_data_dir": "data.path",
        "instance_data_dir": "data.path",
        "class_data_dir": "data.class_path",
    }
    for name, key in named.items():
        if made.given(name):
            made.take(name, key, place(made.get(name), made.beside))
    made.leave(
        "dataset_name", "a data set of the hub is not fetched: give its pictures, --set data.path=FOLDER"
    )


def _data(made: Reading) -> None:
    made.add(
        "data.caption_dropout", 0.0, "its scripts drop no caption unless proportion_empty_prompts says so"
    )
    made.add("data.bucket", False, "its scripts cut every picture to a square")
    centre = made.get("center_crop") is True or made.method == "controlnet"
    made.add("data.random_crop", not centre, "its scripts crop at random unless center_crop is set")
    made.leave("center_crop", "data.random_crop says it")
    if not _on(made, "with_prior_preservation"):
        for name in ("class_data_dir", "class_prompt", "num_class_images", "prior_loss_weight"):
            made.leave(name, "with_prior_preservation is not set")
            made.done.add(name)
    else:
        made.take("class_prompt", "data.class_prompt")
        if not made.given("num_class_images"):
            made.add("data.class_count", 100, "its scripts make so many")
        made.leave("with_prior_preservation", "data.class_count says it")
    if made.given("learnable_property"):
        style = str(made.get("learnable_property")) == "style"
        made.take("learnable_property", "captions.templates", ["style" if style else "subject"])


def _length(made: Reading) -> None:
    if made.given("max_train_steps"):
        made.leave("num_train_epochs", "max_train_steps comes before it there")
        made.done.add("num_train_epochs")
    elif made.method == "textual_inversion":
        made.done.add("num_train_epochs")
    if str(made.get("lr_scheduler")) == "constant":
        made.leave("lr_warmup_steps", "the schedule constant has no warm-up there")
        made.done.add("lr_warmup_steps")


def _parts(made: Reading) -> None:
    if made.method == "lora":
        made.take("rank", "lora.rank")
        if not made.given("lora_alpha"):
            made.add("lora.alpha", number(made.get("rank")), "alpha is the rank there")
        made.add("lora.targets", "attention", "its scripts adapt to_q, to_k, to_v and to_out of the UNet")
    if made.method in ("lora", "dreambooth") and _on(made, "train_text_encoder"):
        made.add(
            f"{made.method}.text_encoder_learning_rate",
            number(made.get("learning_rate")),
            "one rate for all there",
        )
    if _on(made, "use_ema"):
        made.take("use_ema", "train.ema", 0.9999, "the decay that its scripts take")
    if made.given("variant") or made.given("revision"):
        for name in ("variant", "revision"):
            made.leave(name, "files are found by what they hold")


def _optimizer(made: Reading) -> None:
    if _on(made, "use_8bit_adam"):
        made.take("use_8bit_adam", "optimizer.name", "adamw8bit")
    elif not made.given("optimizer"):
        made.add("optimizer.name", "adamw", "its scripts' optimiser")
    else:
        made.take("optimizer", "optimizer.name")
    for end, key in (
        ("beta1", "beta1"),
        ("beta2", "beta2"),
        ("weight_decay", "weight_decay"),
        ("epsilon", "epsilon"),
    ):
        made.take(f"adam_{end}", f"optimizer.{key}")
    if _on(made, "gradient_checkpointing"):
        made.take("gradient_checkpointing", "hardware.gradient_checkpointing")


def _previews(made: Reading) -> None:
    made.take("validation_epochs", "samples.every_epochs")
    made.take("output_dir", "name", Path(str(made.get("output_dir") or "")).name or None)
    for name in (
        "report_to",
        "push_to_hub",
        "hub_token",
        "hub_model_id",
        "logging_dir",
        "tracker_project_name",
    ):
        made.leave(name, "a run keeps its figures and files on this machine")


def _on(made: Reading, name: str) -> bool:
    try:
        return made.given(name) and truth(made.get(name))
    except ValueError:
        return False


TOOL = Tool("diffusers", "diffusers' example scripts", read)
