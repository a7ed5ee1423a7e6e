"""LoRA and its kin through peft: low-rank changes beside the layers that the family names for a role."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Self, cast

import torch
from peft import LoHaConfig, LoKrConfig, LoraConfig, PeftConfig, inject_adapter_in_model
from torch import Tensor, nn

from engine.draws import generator, keyed
from engine.families.base import ModelFamily
from engine.methods.artifact import Artifact
from engine.methods.base import Method, Trainable, options_of
from engine.methods.lora_dropout import drop_ranks
from engine.methods.lora_norms import norms_by_block
from engine.methods.lora_start import LoraStart
from engine.methods.lycoris_start import LycorisStart
from engine.methods.oft import rotate
from engine.methods.pivotal import Word
from engine.models.blocks import parse_values
from engine.models.family_spec import BASE
from engine.plan.methods.lora import LoraOptions
from engine.plan.schema import Plan

ADAPTER = "default"
MARKS = (".lora_A.", ".lora_B.", ".lora_magnitude_vector.", ".hada_", ".lokr_", ".oft_blocks")


class Lora(Method):
    """Hu et al. 2021 (arXiv:2106.09685); LoRA+ arXiv:2402.12354; rsLoRA arXiv:2312.03732; DoRA arXiv:2402.09353; LoHa
    (FedPara) arXiv:2108.06098; LoKr (KronA) arXiv:2212.10650 as LyCORIS (arXiv:2309.14859) takes it."""

    table = "lora"
    """The plan's table of its options."""

    def __init__(
        self, options: LoraOptions, learning_rate: float, seed: int, word: Word | None = None
    ) -> None:
        self.options = options
        self.word = word
        self.learning_rate = learning_rate
        self.seed = seed
        self.alphas: dict[str, float] = {}
        self.pairs: list[tuple[Tensor, Tensor, float]] = []
        self.start: LoraStart | LycorisStart | None = None

    @classmethod
    def from_plan(cls, plan: Plan) -> Self:
        options = options_of(plan, LoraOptions)
        return cls(options, plan.train.learning_rate, plan.seed, Word.of(plan, options))

    def prepare(self, family: ModelFamily) -> Sequence[Trainable]:
        if self.options.start:
            key = f"{self.table}.start"
            kind = self.options.kind
            self.start = (
                LoraStart(self.options.start, key)
                if kind == "lora"
                else LycorisStart(self.options.start, kind, key)
            )
        found = self._inject(family, family.spec.denoiser, None)
        if self.options.text_encoder:
            learning_rate = self.options.text_encoder_learning_rate or self.learning_rate / 2
            for part in family.spec.text_parts:
                found += self._inject(family, part, learning_rate)
        if self.start is not None:
            self.start.close()
            self.start = None
        return [*found, *self.word.prepare(family)] if self.word is not None else found

    def modules(self) -> Mapping[str, nn.Module]:
        # Ranks and modules are dropped by the global generator, which the loop sets by key where it sees a Dropout.
        share = max(self.options.rank_dropout, self.options.module_dropout)
        return {"dropout": nn.Dropout(share)} if share > 0 else {}

    def targets(self, family: ModelFamily, part: str) -> list[str]:
        """The layers to adapt; those of a block whose rate is 0 are then left out."""
        return family.lora_targets(part, self.options.targets)

    def _factor(self, family: ModelFamily, part: str, path: str) -> float:
        """What the plan's rate is multiplied by in the block of a layer."""
        entries = self.options.block_rates
        factors = parse_values(entries, family.spec.name) if entries else {}
        return (
            factors.get(BASE if part != family.spec.denoiser else family.block_of(path), 1.0)
            if factors
            else 1.0
        )

    def _learning_rate(
        self, family: ModelFamily, part: str, path: str, learning_rate: float | None
    ) -> float | None:
        """The rate of a layer; none is the plan's."""
        factor = self._factor(family, part, path)
        return (
            learning_rate
            if factor == 1.0
            else factor * (self.learning_rate if learning_rate is None else learning_rate)
        )

    def _inject(self, family: ModelFamily, part: str, learning_rate: float | None) -> list[Trainable]:
        targets = [path for path in self.targets(family, part) if self._factor(family, part, path) > 0]
        if not targets and part != family.spec.denoiser:
            return []
        module = family.parts[part]
        if self.options.dora:
            # DoRA's magnitudes are norms of the base weights, which fp16 would round to three digits.
            module.float()
        self._adapt(family, part, targets)
        found = []
        for name, parameter in module.named_parameters():
            mark = next((mark for mark in MARKS if mark in f".{name}"), None)
            if mark is None:
                continue
            parameter.data = parameter.data.float()
            if mark == ".lora_A.":
                _fresh(parameter, self.seed, f"{part}.{name}")
            path = name.partition(mark)[0]
            own = self._learning_rate(family, part, path, learning_rate)
            if mark == ".lora_B." and self.options.plus_ratio != 1:
                own = self.options.plus_ratio * (self.learning_rate if own is None else own)
            decays = mark != ".lora_magnitude_vector."
            found.append(Trainable(f"{part}.{name}", parameter, part, own, decays))
        if self.start is not None:
            self.start.fill(family, part, targets, ADAPTER)
        if self.options.max_norm > 0:
            self.pairs += _pairs(module)
        return found

    def _adapt(self, family: ModelFamily, part: str, targets: list[str]) -> None:
        """Put the adapter beside, or around, each of a part's layers."""
        module, options = family.parts[part], self.options
        if options.kind == "oft":
            rotate(module, self._blocks(family, part, targets))
            return
        # LoHa's and LoKr's first weights come from the global generator.
        with keyed(self.seed, "init", part, options.kind):
            inject_adapter_in_model(self._config(family, part, targets), module, adapter_name=ADAPTER)
        if options.kind == "lora":
            drop_ranks(module, ADAPTER, options.rank_dropout, options.module_dropout)

    def _blocks(self, family: ModelFamily, part: str, targets: list[str]) -> dict[str, int]:
        """The side of OFT's blocks for each layer, at most."""
        convolutions = {path for path in targets if convolves(family.parts[part].get_submodule(path))}
        return dict.fromkeys(targets, self.options.rank) | self._ranks(family, part, targets, convolutions)

    def _config(self, family: ModelFamily, part: str, targets: list[str]) -> PeftConfig:
        options = self.options
        convolutions = {path for path in targets if convolves(family.parts[part].get_submodule(path))}
        ranks = self._ranks(family, part, targets, convolutions)
        apart = ranks.keys() | (convolutions if options.conv_alpha else set())
        alphas = {
            path: self._alpha(ranks.get(path, options.rank), path in convolutions)
            for path in targets
            if path in apart
        }
        self.alphas |= {f"{part}.{path}": alpha for path, alpha in alphas.items()}
        shared: dict[str, Any] = {
            "r": options.rank,
            "target_modules": targets,
            "rank_pattern": ranks,
            "alpha_pattern": alphas,
        }
        if options.kind == "lora":
            return LoraConfig(
                lora_alpha=cast(int, options.alpha),
                lora_dropout=options.dropout,
                use_rslora=options.rslora,
                use_dora=options.dora,
                init_lora_weights=True,
                **shared,
            )
        shared |= {
            "alpha": options.alpha,
            "rank_dropout": options.rank_dropout,
            "module_dropout": options.module_dropout,
        }
        if options.kind == "loha":
            return LoHaConfig(**shared)
        return LoKrConfig(decompose_factor=options.factor, **shared)

    def _ranks(
        self, family: ModelFamily, part: str, targets: list[str], convolutions: set[str]
    ) -> dict[str, int]:
        """Ranks that are not the plan's: the block's own, or else the convolutions'."""
        found: dict[str, int] = {}
        if self.options.conv_rank:
            found = {path: self.options.conv_rank for path in targets if path in convolutions}
        if part != family.spec.denoiser or not self.options.block_ranks:
            return found
        ranks = parse_values(self.options.block_ranks, family.spec.name)
        blocks = {path: family.block_of(path) for path in targets}
        return found | {path: int(ranks[block]) for path, block in blocks.items() if block in ranks}

    def _alpha(self, rank: int, convolution: bool) -> float:
        """The alpha that keeps the effective scale at another rank; convolutions may have one of their own."""
        own, alpha = self.options.rank, self.options.alpha
        if convolution and self.options.conv_alpha:
            own, alpha = self.options.conv_rank or own, self.options.conv_alpha
        ratio = rank / own
        return alpha * (math.sqrt(ratio) if self.options.rslora else ratio)

    def signals(self, family: ModelFamily) -> Mapping[str, float]:
        own = {} if self.word is None else self.word.signals(family)
        return {**norms_by_block(family, ADAPTER), **own}

    @torch.no_grad()
    def after_step(self, family: ModelFamily) -> None:
        """Scale pairs down whose product is longer than max_norm: both halves by one share. A word keeps its norm."""
        for down, up, scale in self.pairs:
            a, b = down.flatten(1), up.flatten(1)
            # |BA|^2 = sum((B'B) * (AA')): two small matrices instead of one as large as the layer.
            norm = ((b.T @ b) * (a @ a.T)).sum().clamp(min=1e-24).sqrt() * scale
            share = (self.options.max_norm / norm).clamp(max=1.0).sqrt()
            down.mul_(share)
            up.mul_(share)
        if self.word is not None:
            self.word.after_step(family)

    def artifact(self, family: ModelFamily) -> Artifact:
        tensors: dict[str, Tensor] = {}
        for part in (family.spec.denoiser, *family.spec.text_parts):
            for name, parameter in family.parts[part].named_parameters():
                if any(mark in f".{name}" for mark in MARKS):
                    tensors[canonical(part, name)] = parameter.detach().float().cpu().clone()
        facts: dict[str, object] = {
            "kind": self.options.kind,
            "rank": self.options.rank,
            "alpha": self.options.alpha,
            "rslora": self.options.rslora,
            "dora": self.options.dora,
            "alphas": dict(self.alphas),
            "merge_weight": self.options.merge_weight,
        }
        if self.options.kind in ("loha", "lokr"):
            facts["scale"] = self.options.alpha / self.options.rank
        beside = () if self.word is None else (self.word.artifact(family),)
        return Artifact("lora", tensors, facts, beside)


def convolves(layer: nn.Module) -> bool:
    """Is it a convolution over more than one place?"""
    return isinstance(layer, nn.Conv2d) and layer.kernel_size != (1, 1)


def canonical(part: str, name: str) -> str:
    """peft's parameter name as every file says it: no adapter name, and text encoders with `text_model.`."""
    plain = name.replace(f".{ADAPTER}", "")
    if part.startswith("text_encoder") and not plain.startswith("text_model."):
        plain = f"text_model.{plain}"
    return f"{part}.{plain}"


def _pairs(module: nn.Module) -> list[tuple[Tensor, Tensor, float]]:
    found = []
    for layer in module.modules():
        owner: Any = layer
        if hasattr(layer, "lora_A") and ADAPTER in owner.lora_A:
            found.append(
                (owner.lora_A[ADAPTER].weight, owner.lora_B[ADAPTER].weight, float(owner.scaling[ADAPTER]))
            )
    return found


def _fresh(parameter: nn.Parameter, seed: int, name: str) -> None:
    # peft draws lora_A from the global generator; the same law, keyed by the tensor's name, makes a rebuilt run equal.
    with torch.no_grad():
        nn.init.kaiming_uniform_(parameter, a=math.sqrt(5), generator=generator(seed, "init", name))
