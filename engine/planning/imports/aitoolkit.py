"""ai-toolkit's YAML: a job whose first process trains.

Source of names and defaults: toolkit/config_modules.py and the examples of ai-toolkit.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from engine.errors import UserError
from engine.planning.imports.base import Reading, Tool, number, place, side

_KINDS = {"lora": "lora", "locon": "lora", "lokr": "lokr"}
DEFAULTS: dict[str, Any] = {
    "train.steps": 1000,
    "train.lr": 1e-6,
    "train.batch_size": 1,
    "train.gradient_accumulation_steps": 1,
    "train.optimizer": "adamw",
    "train.max_grad_norm": 1.0,
    "save.save_every": 1000,
}
NETWORK: dict[str, Any] = {"network.linear": 4, "network.linear_alpha": 1.0}
_OTHERS = ("is_flux", "is_v3", "is_pixart", "is_auraflow", "is_lumina2", "arch")
_SETS = {
    "num_repeats": "repeats",
    "caption_dropout_rate": "caption_dropout",
    "shuffle_tokens": "shuffle_tags",
    "keep_tokens": "keep_tags",
    "flip_x": "flip",
    "random_crop": "random_crop",
    "loss_multiplier": "weight",
}
"""Its datasets' keys and a set's."""


def read(content: Any, path: Path, method: str) -> Reading | None:
    """The settings of the first process; none for another file."""
    config = content.get("config") if isinstance(content, dict) else None
    process = config.get("process") if isinstance(config, dict) else None
    if not isinstance(process, list) or not process or not isinstance(process[0], dict):
        return None
    first = process[0]
    kind = method or ("lora" if isinstance(first.get("network"), dict) else "full")
    defaults = DEFAULTS | (NETWORK if kind == "lora" else {})
    settings = dict(_flat(first))
    settings["name"] = config.get("name", path.stem) if isinstance(config, dict) else path.stem
    made = Reading("ai-toolkit", settings, kind, path.parent, defaults)
    made.take("name", "name")
    made.leave("type", "it is the process that trains")
    for number_, other in enumerate(process[1:], 2):
        made.settings[f"process {number_}"] = other.get("type") if isinstance(other, dict) else other
        made.leave(f"process {number_}", "one process is one plan")
    _model(made, path)
    made.take("trigger_word", "data.trigger")
    _datasets(made, first.get("datasets"))
    _network(made)
    _train(made)
    _previews(made)
    made.rest()
    made.finish()
    return made


def _flat(table: Mapping[str, Any], prefix: str = "", depth: int = 0) -> Iterator[tuple[str, Any]]:
    for name, value in table.items():
        key = f"{prefix}{name}"
        if isinstance(value, dict) and depth < 3:
            yield from _flat(value, f"{key}.", depth + 1)
        elif key != "datasets":
            yield key, value


def _model(made: Reading, path: Path) -> None:
    others = [name for name in _OTHERS if made.get(f"model.{name}")]
    arch = str(made.get("model.arch") or "")
    families = {"sd1": "sd1", "sd15": "sd1", "sd2": "sd2", "sdxl": "sdxl"}
    if others and arch not in families:
        told = f"{others[0]} = {made.get(f'model.{others[0]}')}"
        why = "Stable Diffusion 1.x, 2.x and SDXL are trained here"
        raise UserError(f"{path} trains another kind of model ({told})", why, "take another base model")
    if arch:
        made.take("model.arch", "base.family", families[arch])
    for name, family in (("model.is_xl", "sdxl"), ("model.is_v2", "sd2")):
        if made.get(name) is True:
            made.take(name, "base.family", family)
        made.leave(name, "it is off there")
    if made.get("model.is_v_pred") is True:
        made.take("model.is_v_pred", "base.prediction", "v_prediction")
    made.leave("model.is_v_pred", "it is off there")
    if made.given("model.name_or_path"):
        made.take("model.name_or_path", "base.model", place(made.get("model.name_or_path"), made.beside))


def _datasets(made: Reading, datasets: object) -> None:
    """One set a dataset and resolution, as it is there; a single one becomes the plan's own table."""
    sets: list[dict[str, Any]] = []
    for number_, each in enumerate(datasets if isinstance(datasets, list) else []):
        if not isinstance(each, dict):
            continue
        sets += _sets(made, each, f"datasets.{number_}")
    if len(sets) == 1:
        one = sets[0]
        for key, value in one.items():
            made.answers[f"data.{key}" if key != "weight" else "data.sets"] = (
                value if key != "weight" else sets
            )
        if "weight" in one:
            made.answers = {
                k: v for k, v in made.answers.items() if not k.startswith("data.") or k == "data.sets"
            }
    elif sets:
        made.answers["data.sets"] = sets


def _sets(made: Reading, each: Mapping[str, Any], key: str) -> Iterator[dict[str, Any]]:
    found: dict[str, Any] = {"caption_dropout": 0.0, "keep_tags": 0}
    for name, value in each.items():
        named = f"{key}.{name}"
        made.settings[named] = value
        if name in ("folder_path", "dataset_path"):
            found["path"] = place(value, made.beside)
            made.lines.append(_carried(named, value, f"{key}.path", found["path"]))
            made.done.add(named)
        elif name in _SETS:
            own = _SETS[name]
            found[own] = _number_of(own, value)
            made.lines.append(_carried(named, value, f"data.{own}", found[own]))
            made.done.add(named)
        elif name == "cache_latents_to_disk":
            made.leave(named, "latents are kept on the disk wherever they can be")
    sides = each.get("resolution", 512)
    for one in sides if isinstance(sides, list) else [sides]:
        pixels = side(one)
        made.lines.append(_carried(f"{key}.resolution", one, "data.resolution", pixels))
        yield {**found, "resolution": pixels}
    made.done.add(f"{key}.resolution")


def _number_of(own: str, value: object) -> object:
    return number(value) if own in ("caption_dropout", "weight") else value


def _carried(name: str, value: object, key: str, given: object) -> Any:
    from engine.planning.imports.base import Line, same

    return Line(name, value, "renamed" if same(value, given) else "changed", key, given)


def _network(made: Reading) -> None:
    if made.method != "lora":
        return
    kind = str(made.get("network.type") or "lora").lower()
    if kind in _KINDS:
        made.take("network.type", "lora.kind", _KINDS[kind])
    convolves = made.given("network.conv")
    made.add(
        "lora.targets",
        "all" if convolves else "attention_ff",
        "its LoRA adapts the linear layers of the blocks",
    )
    for name, key in (
        ("linear", "rank"),
        ("linear_alpha", "alpha"),
        ("conv", "conv_rank"),
        ("conv_alpha", "conv_alpha"),
        ("dropout", "dropout"),
    ):
        made.take(f"network.{name}", f"lora.{key}")


def _train(made: Reading) -> None:
    made.take("train.steps", "train.steps")
    made.take("train.batch_size", "train.batch_size")
    made.take("train.optimizer", "optimizer.name")
    made.take("train.optimizer_params.weight_decay", "optimizer.weight_decay")
    made.take("train.gradient_checkpointing", "hardware.gradient_checkpointing")
    if made.given("train.train_text_encoder"):
        made.take("train.train_text_encoder", "{method}.text_encoder")
    if made.get("train.train_unet") is True:
        made.leave("train.train_unet", "the denoiser is always trained")
    if made.get("train.ema_config.use_ema") is True:
        made.take("train.ema_config.ema_decay", "train.ema")
        made.leave("train.ema_config.use_ema", "train.ema says it")
    made.leave("train.ema_config.ema_decay", "use_ema is off there")
    made.leave("train.ema_config.use_ema", "it is off there")
    made.leave("train.noise_scheduler", "the noise of training is the base model's own")
    made.take("save.dtype", "output.dtype")
    if made.given("device"):
        made.take("device", "hardware.device")


def _previews(made: Reading) -> None:
    trigger = str(made.get("trigger_word") or "")
    prompts = made.get("sample.prompts")
    if isinstance(prompts, list) and prompts:
        told = [str(each).replace("[trigger]", trigger) for each in prompts]
        made.take("sample.prompts", "samples.prompts", told)
    for name, key in (
        ("neg", "negative"),
        ("guidance_scale", "guidance"),
        ("sample_steps", "steps"),
        ("width", "width"),
        ("height", "height"),
        ("seed", "seed"),
    ):
        made.take(f"sample.{name}", f"samples.{key}")
    made.leave("sample.sampler", "previews have the family's own sampler")
    if made.get("sample.walk_seed") is True:
        made.leave("sample.walk_seed", "seeds of previews always count up")


TOOL = Tool("aitoolkit", "ai-toolkit", read)
