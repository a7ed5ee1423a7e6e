"""Textual inversion: a few new rows of the text encoders' embeddings train, and nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self, cast

import torch
from torch import Tensor

from engine.draws import generator
from engine.errors import UserError
from engine.families.base import ModelFamily
from engine.methods.artifact import Artifact
from engine.methods.base import Method, Trainable, options_of
from engine.methods.condition_nets import read_weights
from engine.methods.placeholder_tokens import WordEmbedding, WordTokenizer, first_rows, median_norm
from engine.models.embedding_file import read_embedding
from engine.plan.methods.textual_inversion import TextualInversionOptions
from engine.plan.schema import Plan

# A row this close to its norm is left alone, so that a step that moved nothing changes no bit.
SETTLED = 1e-6
START = "textual_inversion.start"


class TextualInversion(Method):
    """Gal et al. 2022 (arXiv:2208.01618). A family with two text encoders gets rows in both."""

    initial_key = "textual_inversion.initial"
    """The plan's field of what words start from."""

    def __init__(self, options: TextualInversionOptions, trigger: str, seed: int) -> None:
        self.options = options
        self.words = options.words(trigger)
        self.seed = seed
        self.norms: dict[str, float] = {}
        self.starts: dict[str, Tensor] = {}

    @classmethod
    def from_plan(cls, plan: Plan) -> Self:
        options = options_of(plan, TextualInversionOptions)
        return cls(options, plan.data.trigger, plan.seed)

    def prepare(self, family: ModelFamily) -> Sequence[Trainable]:
        assert self.words, "the check asks for a word"
        family.tokenizers = {
            part: WordTokenizer(tokenizer, {word: self._rows(at) for at, word in enumerate(self.words)})
            for part, tokenizer in family.tokenizers.items()
        }
        return [self._extend(family, part) for part in family.spec.text_parts]

    def _rows(self, index: int) -> range:
        count = self.options.vectors
        return range(index * count, (index + 1) * count)

    def _extend(self, family: ModelFamily, part: str) -> Trainable:
        encoder = cast(Any, family.parts[part])
        old = encoder.get_input_embeddings()
        norm = self.norms[part] = median_norm(old.weight)
        if self.options.start:
            rows = self._given(family, part, old.weight.shape[1])
        else:
            words = range(len(self.words))
            rows = torch.cat([self._start(family, part, old.weight, norm, index) for index in words])
        self.starts[part] = rows.detach().float().clone()
        embedding = WordEmbedding(old, rows)
        encoder.set_input_embeddings(embedding)
        return Trainable(f"{part}.words", embedding.rows, part)

    def _given(self, family: ModelFamily, part: str, width: int) -> Tensor:
        """The rows of every word as the file has them, [words x vectors, width] fp32."""
        path = Path(self.options.start).expanduser()
        places = read_embedding(path, family.spec, self.words)
        found = []
        for word, own in zip(self.words, places.values(), strict=True):
            place = own[part]
            value = read_weights(place.path, START)[place.name].float().reshape(-1, place.width)
            if tuple(value.shape) != (self.options.vectors, width):
                why = f"{word} is {list(value.shape)}, and {[self.options.vectors, width]} is needed"
                raise UserError(
                    f"{START}: {path} does not fit this plan", why, "set vectors as the file has them"
                )
            if not torch.isfinite(value).all():
                raise UserError(
                    f"{START}: {path} holds values that are not finite", fix="name an earlier file"
                )
            found.append(value)
        return torch.cat(found).clone()

    def _start(self, family: ModelFamily, part: str, weight: Tensor, norm: float, index: int) -> Tensor:
        text = self.options.initial_of(index)
        known = family.tokenizers[part].inner(text, add_special_tokens=False).input_ids if text else []
        if text and not known:
            raise UserError(
                f"{self.initial_key}: {text!r} has no token", fix="give an ordinary word, or none"
            )
        draw = generator(self.seed, "init", part, self.words[index])
        return first_rows(weight, known, self.options.vectors, norm, draw)

    @torch.no_grad()
    def signals(self, family: ModelFamily) -> Mapping[str, float]:
        """Of each word in each text encoder the mean norm of its vectors, and their mean distance to their start."""
        found: dict[str, float] = {}
        for part in family.spec.text_parts:
            rows = self._parameter(family, part).detach().float().cpu()
            for index, word in enumerate(self.words):
                own, start = rows[self._rows(index)], self.starts[part][self._rows(index)]
                found[f"norm {part}/{word}"] = float(own.norm(dim=-1).mean())
                found[f"distance {part}/{word}"] = float((own - start).norm(dim=-1).mean())
        return found

    @torch.no_grad()
    def after_step(self, family: ModelFamily) -> None:
        if not self.options.keep_norm:
            return
        for part, norm in self.norms.items():
            rows = self._parameter(family, part)
            factor = norm / rows.norm(dim=-1, keepdim=True).clamp(min=1e-12)
            rows.mul_(torch.where((factor - 1).abs() < SETTLED, 1.0, factor))

    def _parameter(self, family: ModelFamily, part: str) -> Tensor:
        return cast(Tensor, cast(Any, family.parts[part]).get_input_embeddings().rows)

    def artifact(self, family: ModelFamily) -> Artifact:
        """`PART/WORD` gives [vectors, width]; fact `words` lists the words in the plan's order."""
        tensors = {
            f"{part}/{word}": self._parameter(family, part)[self._rows(index)].detach().float().cpu().clone()
            for part in family.spec.text_parts
            for index, word in enumerate(self.words)
        }
        return Artifact("embedding", tensors, {"words": self.words})
