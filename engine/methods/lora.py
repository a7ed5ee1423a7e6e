"""LoRA through peft: low-rank pairs beside the layers that the family names for a role."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from peft import LoraConfig, inject_adapter_in_model
from torch import Tensor, nn

from engine.families.base import ModelFamily
from engine.methods.artifact import Artifact
from engine.methods.base import PlainMethod, Trainable
from engine.plan.methods.lora import LoraOptions
from engine.train.draws import generator

ADAPTER = "default"
MARKS = (".lora_A.", ".lora_B.", ".lora_magnitude_vector.")


class Lora(PlainMethod):
    """Hu et al. 2021 (arXiv:2106.09685); rsLoRA arXiv:2312.03732; DoRA arXiv:2402.09353."""

    def __init__(self, options: LoraOptions, learning_rate: float, seed: int) -> None:
        self.options = options
        self.learning_rate = learning_rate
        self.seed = seed

    def prepare(self, family: ModelFamily) -> Sequence[Trainable]:
        found = self._inject(family, "unet", None)
        if self.options.text_encoder:
            rate = self.options.text_encoder_learning_rate or self.learning_rate / 2
            for part in family.spec.text_parts:
                found += self._inject(family, part, rate)
        return found

    def _inject(self, family: ModelFamily, part: str, rate: float | None) -> list[Trainable]:
        options = self.options
        config = LoraConfig(
            r=options.rank,
            lora_alpha=options.alpha,
            target_modules=family.lora_targets(part, options.targets),
            lora_dropout=options.dropout,
            use_rslora=options.rslora,
            use_dora=options.dora,
            init_lora_weights=True,
        )
        module = family.parts[part]
        if options.dora:
            # DoRA's magnitudes are norms of the base weights, which fp16 would round to three digits.
            module.float()
        inject_adapter_in_model(config, module, adapter_name=ADAPTER)
        found = []
        for name, parameter in module.named_parameters():
            if not any(mark in f".{name}" for mark in MARKS):
                continue
            parameter.data = parameter.data.float()
            if ".lora_A." in name:
                _fresh(parameter, self.seed, f"{part}.{name}")
            found.append(
                Trainable(f"{part}.{name}", parameter, part, rate, ".lora_magnitude_vector." not in name)
            )
        return found

    def artifact(self, family: ModelFamily) -> Artifact:
        tensors: dict[str, Tensor] = {}
        for part in ("unet", *family.spec.text_parts):
            for name, parameter in family.parts[part].named_parameters():
                if any(mark in f".{name}" for mark in MARKS):
                    tensors[canonical(part, name)] = parameter.detach().float().cpu().clone()
        facts: dict[str, object] = {
            "rank": self.options.rank,
            "alpha": self.options.alpha,
            "rslora": self.options.rslora,
            "dora": self.options.dora,
        }
        return Artifact("lora", tensors, facts)


def canonical(part: str, name: str) -> str:
    """peft's parameter name as every file says it: no adapter name, and text encoders with `text_model.`."""
    plain = name.replace(f".{ADAPTER}", "")
    if part.startswith("text_encoder") and not plain.startswith("text_model."):
        plain = f"text_model.{plain}"
    return f"{part}.{plain}"


def _fresh(parameter: nn.Parameter, seed: int, name: str) -> None:
    # peft draws lora_A from the global generator; the same law, keyed by the tensor's name, makes a rebuilt run equal.
    with torch.no_grad():
        nn.init.kaiming_uniform_(parameter, a=math.sqrt(5), generator=generator(seed, "init", name))
