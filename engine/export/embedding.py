"""Textual inversion embeddings as safetensors: `emb_params`, and for SDXL `clip_l` and `clip_g`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import chain, count
from typing import cast

import torch
from torch import Tensor

from engine.errors import UserError
from engine.export.base import TRAINED, Composed, Exported, ExportRequest, Format, common_metadata
from engine.files import file_word
from engine.methods.artifact import Artifact


@dataclass(frozen=True)
class EmbeddingFormat(Format):
    """A safetensors format of one word a file."""

    def write(self, request: ExportRequest) -> Exported:
        return write_words(request, self.name, super().write)


def words_of(artifact: Artifact) -> tuple[str, ...]:
    """The words of an embedding artifact."""
    return cast("tuple[str, ...]", tuple(cast("tuple[str, ...]", artifact.facts["words"])))


def write_words(request: ExportRequest, name: str, write: Callable[[ExportRequest], Exported]) -> Exported:
    """One file a word, in fp32 whatever the plan says: they are kilobytes, and programs expect fp32."""
    written = []
    words = words_of(request.artifact)
    for word, stem in zip(words, word_stems(request.out.stem, words), strict=True):
        out = request.out.with_name(stem + request.out.suffix)
        about = replace(request.about, name=stem, trigger_words=(word,))
        artifact = replace(request.artifact, facts={**request.artifact.facts, "words": (word,)})
        written.append(write(replace(request, artifact=artifact, about=about, out=out, dtype=torch.float32)))
    size, tensors = sum(one.bytes for one in written), sum(one.tensors for one in written)
    parts = tuple(written) if len(written) > 1 else ()
    return Exported(name, written[0].path, size, tensors, parts=parts)


def word_stems(stem: str, words: Sequence[str]) -> list[str]:
    """A file's name for each word, no two alike. The first has the asked one; where that begins with the first word,
    the others have theirs in its place (cat-raw, dog-raw), else behind it (pets, pets-dog)."""
    first, *others = words
    own = file_word(first)
    named = stem == own or stem.startswith(f"{own}-")
    found = [stem]
    for word in others:
        new = file_word(word) + stem.removeprefix(own) if named else f"{stem}-{file_word(word)}"
        taken = {one.casefold() for one in found}
        numbers = (f"{new}-{number}" for number in count(2))
        found.append(next(one for one in chain([new], numbers) if one.casefold() not in taken))
    return found


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
    opens_in=("AUTOMATIC1111", "ComfyUI", "kohya", "diffusers"),
    compose=compose,
    folder="diffusers",
)
