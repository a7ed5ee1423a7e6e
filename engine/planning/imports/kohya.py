"""kohya's sd-scripts: the arguments of its scripts, in the TOML of `--config_file` or on a command line.

Source of names and defaults: the argument parsers of library/train_util.py, train_network.py and networks/lora.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from engine.planning.imports.base import Reading, Tool, number, place, side, unknown_method
from engine.planning.imports.command import Command
from engine.planning.imports.kohya_network import network, pairs, positive, true

SCRIPTS: Mapping[str, tuple[str, str]] = {
    "train_network": ("lora", ""),
    "sdxl_train_network": ("lora", "sdxl"),
    "train_db": ("dreambooth", ""),
    "fine_tune": ("full", ""),
    "sdxl_train": ("full", "sdxl"),
    "train_textual_inversion": ("textual_inversion", ""),
    "sdxl_train_textual_inversion": ("textual_inversion", "sdxl"),
}
"""Its scripts, each with the method and the family that it is for."""
DEFAULTS: dict[str, Any] = {
    "learning_rate": 2e-6,
    "lr_scheduler": "constant",
    "lr_scheduler_num_cycles": 1,
    "lr_scheduler_power": 1.0,
    "max_train_steps": 1600,
    "train_batch_size": 1,
    "gradient_accumulation_steps": 1,
    "mixed_precision": "no",
    "optimizer_type": "AdamW",
    "max_grad_norm": 1.0,
    "enable_bucket": False,
    "caption_dropout_rate": 0.0,
    "keep_tokens": 0,
    "prior_loss_weight": 1.0,
}
NETWORK: dict[str, Any] = {"network_dim": 4, "network_alpha": 1}
_MARKS = {"network_module", "network_dim", "network_alpha", "train_data_dir", "pretrained_model_name_or_path"}
_SIGNS = {
    "lr_scheduler_num_cycles",
    "max_train_epochs",
    "save_every_n_epochs",
    "caption_extension",
    "enable_bucket",
}
_SIGNS |= {
    "unet_lr",
    "optimizer_type",
    "mixed_precision",
    "output_name",
    "train_batch_size",
    "network_module",
}


def read(content: Any, path: Path, method: str) -> Reading | None:
    """The settings of `path`, or of a command of one of its scripts; none for something else."""
    if isinstance(content, Command):
        if content.script not in SCRIPTS:
            return None
        # Its options and diffusers' overlap: a script of both names is told by what only one of them has.
        kind, family = SCRIPTS[content.script]
        options = {
            **({} if "mixed_precision" not in content.before else _precision(content)),
            **content.options,
        }
        return reading(options, path, method or kind, family)
    if not isinstance(content, dict) or path.suffix.lower() != ".toml":
        return None
    settings = flat(content)
    if not settings.keys() & _MARKS or not settings.keys() & _SIGNS:
        return None
    return reading(settings, path, method or _method(settings, path), "")


def _precision(content: Command) -> dict[str, Any]:
    return {"mixed_precision": content.before["mixed_precision"]}


def flat(content: Mapping[str, Any]) -> dict[str, Any]:
    """The settings without their tables, whose names its scripts do not read."""
    found: dict[str, Any] = {}
    for name, value in content.items():
        found |= value if isinstance(value, dict) else {name: value}
    return found


def _method(settings: Mapping[str, Any], path: Path) -> str:
    if settings.get("network_module") or settings.get("network_dim"):
        return "lora"
    if settings.get("token_string"):
        return "textual_inversion"
    raise unknown_method(
        path, "it has no network_module and no token_string, and its scripts are told by name"
    )


def reading(settings: dict[str, Any], path: Path, method: str, family: str) -> Reading:
    """What the arguments of its scripts come to."""
    defaults = DEFAULTS | (NETWORK if method == "lora" else {})
    made = Reading("kohya's sd-scripts", settings, method, path.parent, defaults)
    _base(made, family)
    _data(made)
    _length(made)
    if method == "lora":
        network(made)
    _optimizer(made)
    _objective(made)
    made.rest()
    made.finish()
    return made


def _base(made: Reading, family: str) -> None:
    for name, key in (("pretrained_model_name_or_path", "base.model"), ("vae", "base.vae")):
        if made.given(name):
            made.take(name, key, place(made.get(name), made.beside))
    v2 = true(made, "v2")
    if family or v2:
        made.add("base.family", family or "sd2", "the script" if family else "v2 is set")
    made.leave("v2", "base.family says it")
    if true(made, "v_parameterization"):
        made.take("v_parameterization", "base.prediction", "v_prediction")
    made.leave("v_parameterization", "what the model predicts is read from its files")
    if family == "sdxl":
        made.leave("clip_skip", "SDXL reads the layer that it was made for")


def _data(made: Reading) -> None:
    if made.given("dataset_config"):
        made.take(
            "dataset_config", "data.path", place(made.get("dataset_config"), made.beside), "its sets are read"
        )
    for name, key in (("train_data_dir", "data.path"), ("reg_data_dir", "data.class_path")):
        if made.given(name):
            made.take(name, key, place(made.get(name), made.beside))
    if made.given("resolution"):
        sized(made, "resolution")
    if true(made, "cache_latents") or true(made, "cache_latents_to_disk"):
        name = "cache_latents" if made.given("cache_latents") else "cache_latents_to_disk"
        made.take(name, "data.cache_latents", "auto", "latents are kept on the disk wherever they can be")
    made.leave("cache_latents_to_disk", "data.cache_latents says it")
    made.leave("cache_latents", "data.cache_latents says it")


def sized(made: Reading, name: str) -> None:
    """A size as data.resolution."""
    try:
        made.take(name, "data.resolution", side(made.get(name)))
    except ValueError as error:
        made.leave(name, str(error))


def _length(made: Reading) -> None:
    if positive(made, "max_train_epochs"):
        made.leave("max_train_steps", "max_train_epochs comes before it there")
        made.done.add("max_train_steps")
    else:
        made.leave("max_train_epochs", "it is off there")
    if not made.given("lr_warmup_steps"):
        return
    warmup = number(made.get("lr_warmup_steps"))
    if str(made.get("lr_scheduler")) in ("constant", "cosine_annealing"):
        made.leave("lr_warmup_steps", f"the schedule {made.get('lr_scheduler')} has no warm-up there")
    elif 0 < warmup < 1 and not positive(made, "max_train_epochs"):
        steps = round(warmup * number(made.get("max_train_steps")))
        made.take("lr_warmup_steps", "train.warmup", steps, "it is a share of the steps there")
    elif 0 < warmup < 1:
        made.leave("lr_warmup_steps", "it is a share of steps that only the pictures tell: set train.warmup")


def _optimizer(made: Reading) -> None:
    if positive(made, "unet_lr"):
        made.leave("learning_rate", "unet_lr comes before it there")
        made.done.add("learning_rate")
    for name in ("use_8bit_adam", "use_lion_optimizer"):
        if true(made, name):
            made.take(name, "optimizer.name", "adamw8bit" if name == "use_8bit_adam" else "lion")
            made.done.add("optimizer_type")
        else:
            made.leave(name, "it is off there")
    for name, value in pairs(made, "optimizer_args").items():
        key = f"optimizer_args.{name}"
        made.settings[key] = value
        _optimizer_argument(made, name, key, value)


def _optimizer_argument(made: Reading, name: str, key: str, value: str) -> None:
    plain = {"weight_decay": "optimizer.weight_decay", "eps": "optimizer.epsilon"}
    if name in plain:
        made.take(key, plain[name])
    elif name == "betas":
        betas = [number(part) for part in value.strip("()[]").split(",")]
        made.take(key, "optimizer.beta1", betas[0])
        made.add("optimizer.beta2", betas[-1], "the second of betas")
    else:
        made.leave(key, "nothing here is known to be like it")


def _objective(made: Reading) -> None:
    if made.given("max_timestep"):
        last = int(number(made.get("max_timestep"))) - 1
        made.take(
            "max_timestep",
            "objective.max_timestep",
            last,
            "the last timestep; there it is the one behind",
        )
    if true(made, "debiased_estimation_loss"):
        made.take("debiased_estimation_loss", "objective.weighting", "debiased")
    made.leave("debiased_estimation_loss", "it is off there")
    if not positive(made, "multires_noise_iterations"):
        made.leave("multires_noise_discount", "multires_noise_iterations is off there")
    for name in ("full_bf16", "full_fp16"):
        if true(made, name) and name == "full_bf16":
            made.take(name, "train.weights", "bf16")
        made.leave(name, "weights that train are fp32 or bf16" if true(made, name) else "it is off there")
    if made.given("scale_weight_norms") and made.answers.get("lora.kind", "lora") != "lora":
        made.leave("scale_weight_norms", "the norm is taken of plain pairs alone")
    made.take("scale_weight_norms", "lora.max_norm")


TOOL = Tool("kohya", "kohya's sd-scripts", read)
