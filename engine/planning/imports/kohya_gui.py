"""The JSON that kohya_ss, the GUI of kohya's scripts, saves: their arguments by other names, many as texts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from engine.planning.imports import kohya
from engine.planning.imports.base import Reading, Tool, number, truth, unknown_method

_RENAMED = {
    "optimizer": "optimizer_type",
    "max_resolution": "resolution",
    "lora_network_weights": "network_weights",
    "stop_text_encoder_training_pct": "stop_text_encoder_training",
}
"""Its own names of what the scripts call otherwise."""
_KINDS = {
    "standard": ("networks.lora", ""),
    "kohya locon": ("networks.lora", ""),
    "lycoris/locon": ("lycoris.kohya", "locon"),
    "lycoris/loha": ("lycoris.kohya", "loha"),
    "lycoris/lokr": ("lycoris.kohya", "lokr"),
    "lycoris/diag-oft": ("lycoris.kohya", "diag-oft"),
}
_SIGNS = {"LoRA_type", "max_resolution", "lr_warmup", "epoch", "num_cpu_threads_per_process"}


def read(content: Any, path: Path, method: str) -> Reading | None:
    """The settings of such a file; none for another one."""
    if not isinstance(content, dict) or len(content.keys() & _SIGNS) < 3:
        return None
    settings: dict[str, Any] = {
        _RENAMED.get(str(name), str(name)): value
        for name, value in content.items()
        if value not in ("", None)
    }
    family = "sdxl" if truth(settings.pop("sdxl", False)) else ""
    _length(settings)
    kind = "lora" if "LoRA_type" in settings else method
    if not kind:
        raise unknown_method(path, "only files of its LoRA page say LoRA_type")
    if kind == "lora":
        _network(settings)
    made = kohya.reading(settings, path, method or kind, family)
    made.tool = TOOL.title
    return made


def _length(settings: dict[str, Any]) -> None:
    """`epoch` is what the length follows from where neither steps nor epochs are said."""
    epoch = settings.pop("epoch", None)
    steps, epochs = (number(settings.get(name, 0)) for name in ("max_train_steps", "max_train_epochs"))
    if epoch is not None and not steps and not epochs:
        settings["max_train_epochs"] = epoch
    if (warmup := settings.pop("lr_warmup", None)) is not None and "lr_warmup_steps" not in settings:
        settings["lr_warmup_steps"] = number(warmup) / 100  # percent there, and a share for the scripts


def _network(settings: dict[str, Any]) -> None:
    told = str(settings.pop("LoRA_type"))
    module, algorithm = _KINDS.get(told.lower(), (told, ""))
    settings["network_module"] = module
    arguments = [f"algo={algorithm}"] if algorithm else []
    # Its other pages write these too, and the scripts then get them for convolutions alone.
    named = ("conv_dim", "conv_alpha") if told.lower() != "standard" else ()
    for name in (*named, "rank_dropout", "module_dropout", *(("factor",) if algorithm == "lokr" else ())):
        if name in settings and number(settings[name]) != 0:
            arguments.append(f"{name}={settings[name]}")
    for name in ("conv_dim", "conv_alpha", "rank_dropout", "module_dropout", "factor"):
        settings.pop(name, None)
    settings["network_args"] = arguments


TOOL = Tool("kohya_gui", "kohya_ss, the GUI of kohya's scripts", read)
