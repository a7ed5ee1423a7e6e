"""The part of kohya's arguments that says what network is trained: kind, layers, ranks, text encoder."""

from __future__ import annotations

from collections.abc import Mapping

from engine.planning.imports.base import Reading, number, place, truth

_KINDS = {"lora": "lora", "locon": "lora", "loha": "loha", "lokr": "lokr", "diag-oft": "oft"}


def network(made: Reading) -> None:
    arguments = pairs(made, "network_args")
    module = str(made.get("network_module") or "networks.lora")
    lycoris = module.startswith("lycoris")
    algorithm = str(arguments.pop("algo", "lora")).lower() if lycoris else "lora"
    if algorithm not in _KINDS or not (lycoris or module in ("networks.lora", "networks.lora_fa")):
        made.leave("network_module", f"{algorithm if lycoris else module} is not offered")
    elif made.given("network_module"):
        made.take("network_module", "lora.kind", _KINDS[algorithm])
    convolves = lycoris or "conv_dim" in arguments
    which = "linear layers of the transformer blocks" if not convolves else "convolutions too"
    made.add("lora.targets", "all" if convolves else "attention_ff", f"{module} adapts {which}")
    _network_arguments(made, arguments)
    _text_encoder(made)
    if made.given("network_weights"):
        made.take("network_weights", "lora.start", place(made.get("network_weights"), made.beside))


_ARGUMENTS = {
    "conv_dim": "lora.conv_rank",
    "conv_alpha": "lora.conv_alpha",
    "dropout": "lora.dropout",
    "rank_dropout": "lora.rank_dropout",
    "module_dropout": "lora.module_dropout",
    "factor": "lora.factor",
    "loraplus_lr_ratio": "lora.plus_ratio",
    "loraplus_unet_lr_ratio": "lora.plus_ratio",
    "rs_lora": "lora.rslora",
    "dora_wd": "lora.dora",
}
"""What network_args hold, by their own names."""


def _network_arguments(made: Reading, arguments: Mapping[str, str]) -> None:
    for name, value in arguments.items():
        key = f"network_args.{name}"
        made.settings[key] = value
        if name == "conv_alpha" and made.answers.get("lora.kind", "lora") != "lora":
            made.leave(key, "a file of this kind has one strength for all its layers: lora.alpha / lora.rank")
        elif name in _ARGUMENTS:
            made.take(key, _ARGUMENTS[name])
        else:
            made.leave(key, "nothing here is known to be like it")


def _text_encoder(made: Reading) -> None:
    """Its network scripts train the text encoder unless they are told otherwise."""
    rate = made.get("text_encoder_lr")
    off = made.given("text_encoder_lr") and _rates(rate) == [0.0]
    unet_only = true(made, "network_train_unet_only") or true(made, "cache_text_encoder_outputs")
    if unet_only or off:
        made.add("lora.text_encoder", False, "only the UNet is trained")
        made.leave("text_encoder_lr", "the text encoder is not trained")
    else:
        made.add(
            "lora.text_encoder", True, "its network scripts train it unless network_train_unet_only is set"
        )
        _text_rate(made, rate)
    made.leave("network_train_unet_only", "lora.text_encoder says it")


def _text_rate(made: Reading, rate: object) -> None:
    if not made.given("text_encoder_lr"):
        main = made.get("learning_rate")
        made.add("lora.text_encoder_learning_rate", number(main), "the text encoder has learning_rate there")
        return
    rates = _rates(rate)
    if len(set(rates)) == 1:
        made.take("text_encoder_lr", "lora.text_encoder_learning_rate", rates[0])
    else:
        made.leave(
            "text_encoder_lr", "the text encoders have one rate here: set lora.text_encoder_learning_rate"
        )


def _rates(value: object) -> list[float]:
    parts = value if isinstance(value, list) else str(value).split(",")
    return [number(part) for part in parts]


def pairs(made: Reading, name: str) -> dict[str, str]:
    """A list of texts NAME=VALUE, or one text of them."""
    value = made.settings.pop(name, None) or []
    words = value.split() if isinstance(value, str) else value if isinstance(value, list) else []
    return {str(word).partition("=")[0].strip(): str(word).partition("=")[2].strip(" \"'") for word in words}


def true(made: Reading, name: str) -> bool:
    """Does the file switch it on?"""
    try:
        return made.given(name) and truth(made.get(name))
    except ValueError:
        return False


def positive(made: Reading, name: str) -> bool:
    """Does the file give a number above 0?"""
    try:
        return made.given(name) and number(made.get(name)) > 0
    except ValueError:
        return False
