"""OneTrainer's JSON: its presets and the configs that it saves, older ones with plain keys and newer ones with tables.

Source of names and defaults: TrainConfig.default_values of modules/util/config/TrainConfig.py, and its enums.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from engine.errors import UserError
from engine.plan.layouts import onetrainer_concepts
from engine.planning.imports.base import Reading, Tool, number, place, side, unknown_method

_METHODS = {"LORA": "lora", "FINE_TUNE": "full", "EMBEDDING": "textual_inversion"}
_FAMILIES = {
    "STABLE_DIFFUSION_15": "sd1",
    "STABLE_DIFFUSION_20": "sd2",
    "STABLE_DIFFUSION_20_BASE": "sd2",
    "STABLE_DIFFUSION_21": "sd2",
    "STABLE_DIFFUSION_21_BASE": "sd2",
    "STABLE_DIFFUSION_XL_10_BASE": "sdxl",
}
DEFAULTS: dict[str, Any] = {
    "learning_rate": 3e-6,
    "learning_rate_scheduler": "CONSTANT",
    "learning_rate_warmup_steps": 200,
    "learning_rate_cycles": 1,
    "epochs": 100,
    "batch_size": 1,
    "gradient_accumulation_steps": 1,
    "lora_rank": 16,
    "lora_alpha": 1.0,
    "aspect_ratio_bucketing": True,
    "resolution": "512",
    "clip_grad_norm": 1.0,
}
_LORA = ("lora_rank", "lora_alpha")
_UNITS = {"EPOCH": "every_epochs", "STEP": "every"}
_TARGETS = {"attn-mlp": "attention_ff", "attn-only": "attention", "full": "all"}


def read(content: Any, path: Path, method: str) -> Reading | None:
    """The settings of such a file; none for another one."""
    if not isinstance(content, dict) or not {"training_method", "model_type"} <= content.keys():
        return None
    own = str(content["training_method"])
    kind = method or _METHODS.get(own, "")
    if not kind:
        raise unknown_method(path, f"its training_method {own} is not offered")
    defaults = {name: value for name, value in DEFAULTS.items() if kind == "lora" or name not in _LORA}
    made = Reading("OneTrainer", _flat(content), kind, path.parent, defaults)
    made.done.add("training_method")
    _family(made, path)
    _paths(made)
    _schedule(made)
    _parts(made)
    _objective(made)
    _intervals(made)
    made.rest()
    made.finish()
    return made


def _flat(content: Mapping[str, Any]) -> dict[str, Any]:
    """Tables one level deep become names with a dot; concepts stay as they are."""
    found: dict[str, Any] = {}
    for name, value in content.items():
        if isinstance(value, dict):
            found |= {f"{name}.{inner}": each for inner, each in value.items()}
        else:
            found[name] = value
    return found


def _family(made: Reading, path: Path) -> None:
    kind = str(made.get("model_type"))
    if kind not in _FAMILIES:
        raise UserError(
            f"{path} trains a {kind}",
            "Stable Diffusion 1.x, 2.x and SDXL are trained here",
            "take another base model",
        )
    made.take("model_type", "base.family", _FAMILIES[kind])


def _paths(made: Reading) -> None:
    if made.given("base_model_name"):
        made.take("base_model_name", "base.model", place(made.get("base_model_name"), made.beside))
    if isinstance(made.get("concepts"), list) and made.get("concepts"):
        sets = onetrainer_concepts.sets_of(made.get("concepts"), made.beside / "concepts.json")
        made.take("concepts", "data.sets", [each.model_dump(exclude_none=True) for each in sets])
        made.leave("concept_file_name", "the concepts stand in the file itself")
    elif made.given("concept_file_name"):
        made.take(
            "concept_file_name",
            "data.path",
            place(made.get("concept_file_name"), made.beside),
            "its sets are read",
        )
    if made.given("output_model_destination"):
        made.take("output_model_destination", "name", Path(str(made.get("output_model_destination"))).stem)
    _resolution(made)


def _resolution(made: Reading) -> None:
    sides = str(made.get("resolution")).split(",")
    if len(sides) > 1:
        made.leave(
            "resolution", "several resolutions stand in sets here: data.sets, each with its resolution"
        )
        return
    made.take("resolution", "data.resolution", _of(side, sides[0]))


def _of(convert: Callable[[Any], Any], value: object) -> Any:
    """A converted value; the value itself where it cannot be, which `take` then says."""
    try:
        return convert(value)
    except ValueError:
        return value


def _schedule(made: Reading) -> None:
    made.take("learning_rate_scheduler", "train.schedule")
    made.take("learning_rate_warmup_steps", "train.warmup")
    made.take("learning_rate_cycles", "train.cycles")
    if made.given("unet_learning_rate") or made.given("unet.learning_rate"):
        name = "unet_learning_rate" if made.given("unet_learning_rate") else "unet.learning_rate"
        made.take(name, "train.learning_rate")
        made.leave("learning_rate", f"{name} comes before it there")
        made.done.add("learning_rate")
    for name in ("optimizer", "optimizer.optimizer"):
        if made.given(name):
            made.take(name, "optimizer.name")
    for end, key in (
        ("weight_decay", "weight_decay"),
        ("beta1", "beta1"),
        ("beta2", "beta2"),
        ("eps", "epsilon"),
    ):
        for name in (end, f"optimizer.{end}"):
            if made.given(name):
                made.take(name, f"optimizer.{key}")
    average = str(made.get("ema") or "OFF")
    if average == "OFF":
        made.leave("ema_decay", "ema is off there")
        made.leave("ema_update_step_interval", "ema is off there")
    made.leave("ema", "it is off there" if average == "OFF" else "train.ema says it")


def _parts(made: Reading) -> None:
    _text_encoder(made)
    _layers(made)
    _words(made)
    for name, key in (("aspect_ratio_bucketing", "data.bucket"), ("output_dtype", "output.dtype")):
        made.take(name, key)
    made.take("train_dtype", "train.precision")
    made.take("clip_grad_norm", "train.clip_norm")
    if made.given("gradient_checkpointing"):
        on = str(made.get("gradient_checkpointing")) != "OFF"
        made.take("gradient_checkpointing", "hardware.gradient_checkpointing", on)


def _text_encoder(made: Reading) -> None:
    for name in ("train_text_encoder", "text_encoder.train"):
        if made.given(name):
            made.take(name, "{method}.text_encoder")
    trains = made.answers.get(f"{made.method}.text_encoder", False)
    for name in ("text_encoder_learning_rate", "text_encoder.learning_rate"):
        if made.given(name) and trains:
            made.take(name, "{method}.text_encoder_learning_rate")
        made.leave(name, "the text encoder is not trained")


def _layers(made: Reading) -> None:
    for name in ("layer_filter_preset", "lora_layer_preset"):
        chosen = _TARGETS.get(str(made.get(name)))
        if chosen is not None and made.method == "lora":
            made.take(name, "lora.targets", chosen)
        elif made.given(name):
            made.leave(name, f"{made.get(name)!r} is not offered: set lora.targets")
    if made.method == "lora" and "lora.targets" not in made.answers:
        made.add("lora.targets", "all", "its LoRA adapts every layer unless a filter is set")


def _words(made: Reading) -> None:
    if made.method == "textual_inversion":
        made.take("token_count", "textual_inversion.vectors")
        made.take("initial_embedding_text", "textual_inversion.initial")
    for name in ("token_count", "initial_embedding_text", "embedding_weight_dtype"):
        made.leave(name, "it is of embeddings alone")


def _objective(made: Reading) -> None:
    for name, key in (("min_noising_strength", "min_timestep"), ("max_noising_strength", "max_timestep")):
        if made.given(name):
            # Shares of 1000 timesteps; the highest itself is behind the last that is drawn.
            last = round(number(made.get(name)) * 1000) - (key == "max_timestep")
            made.take(name, f"objective.{key}", last, "a share of 1000 timesteps there")
    if str(made.get("loss_weight_fn") or "CONSTANT") == "MIN_SNR_GAMMA":
        made.take(
            "loss_weight_fn", "objective.min_snr_gamma", _of(number, made.get("loss_weight_strength") or 5.0)
        )
    elif str(made.get("loss_weight_fn")) == "P2":
        made.take("loss_weight_fn", "objective.weighting", "p2")
        made.take("loss_weight_strength", "objective.p2_gamma")
    made.leave("loss_weight_strength", "the loss weight does not read it")
    squares, lines = (number(made.get(name) or 0) for name in ("mse_strength", "mae_strength"))
    if made.given("mse_strength") and (squares, lines) == (1.0, 0.0):
        made.take("mse_strength", "objective.loss", "mse")
    elif made.given("mae_strength") and (squares, lines) == (0.0, 1.0):
        made.take("mae_strength", "objective.loss", "l1")
    for name, kind in (("force_v_prediction", "v_prediction"), ("force_epsilon_prediction", "epsilon")):
        if made.get(name) is True:
            made.take(name, "base.prediction", kind)
        made.leave(name, "it is off there")


def _intervals(made: Reading) -> None:
    for name, table in (
        ("sample_after", "samples"),
        ("save_after", "checkpoints"),
        ("backup_after", "checkpoints"),
    ):
        unit = str(made.get(f"{name}_unit") or ("MINUTE" if name != "save_after" else "NEVER"))
        if unit in _UNITS and not made.answers.get(f"{table}.{_UNITS[unit]}"):
            made.take(name, f"{table}.{_UNITS[unit]}")
        made.leave(name, f"intervals are said in steps or epochs, and its unit is {unit}")
        made.leave(f"{name}_unit", "it is the unit of the line before")


TOOL = Tool("onetrainer", "OneTrainer", read)
