"""Textual inversion embeddings as safetensors: `emb_params`, and for SDXL `clip_l` and `clip_g`."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import cast

import torch
from torch import Tensor

from engine.errors import UserError
from engine.export.base import TRAINED, Composed, Exported, ExportRequest, Format, common_metadata
from engine.methods.artifact import Artifact


@dataclass(frozen=True)
class EmbeddingFormat(Format):
    """A safetensors format of one word a file: the first word gets the asked name, others theirs behind it."""

    def write(self, request: ExportRequest) -> Exported:
        return write_words(request, self.name, super().write)


def words_of(artifact: Artifact) -> tuple[str, ...]:
    """The words of an embedding artifact."""
    return cast("tuple[str, ...]", tuple(cast("tuple[str, ...]", artifact.facts["words"])))


def write_words(request: ExportRequest, name: str, write: Callable[[ExportRequest], Exported]) -> Exported:
    """One file a word, in fp32 whatever the plan says: they are kilobytes, and programs expect fp32."""
    written = []
    for index, word in enumerate(words_of(request.artifact)):
        out = request.out if index == 0 else request.out.with_stem(f"{request.out.stem}-{file_word(word)}")
        about = replace(request.about, name=out.stem, trigger_words=(word,))
        artifact = replace(request.artifact, facts={**request.artifact.facts, "words": (word,)})
        written.append(write(replace(request, artifact=artifact, about=about, out=out, dtype=torch.float32)))
    size, tensors = sum(one.bytes for one in written), sum(one.tensors for one in written)
    return Exported(name, written[0].path, size, tensors)


def file_word(word: str) -> str:
    """A word as a part of a file's name: `<fat cat>` is fat-cat."""
    return re.sub(r"[^\w]+", "-", word).strip("-") or "word"


def vectors(request: ExportRequest) -> dict[str, Tensor]:
    """[n, width] by text part, of the request's one word. UserError where a value is not finite."""
    (word,) = words_of(request.artifact)
    found = {
        key.partition("/")[0]: value
        for key, value in request.artifact.tensors.items()
        if key.partition("/")[2] == word
    }
    for value in found.values():
        if not torch.isfinite(value).all():
            raise UserError(
                f"the embedding of {word!r} holds values that are not finite", fix="export an earlier step"
            )
    return found


def named(request: ExportRequest) -> dict[str, Tensor]:
    """The vectors of the request's one word under the keys that programs look for."""
    return {request.model.spec.text_part(part).embedding: value for part, value in vectors(request).items()}


def compose(request: ExportRequest) -> Composed:
    """The tensors of one word, with what is known of its origin."""
    return Composed(named(request), common_metadata(request, kind="textual-inversion"))


FORMAT = EmbeddingFormat(
    name="embedding",
    title="embedding",
    extension=".safetensors",
    kind="embedding",
    families=TRAINED,
    opens_in=("AUTOMATIC1111", "ComfyUI", "kohya sd-scripts", "diffusers"),
    compose=compose,
)
