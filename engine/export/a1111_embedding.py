"""Textual inversion embeddings as AUTOMATIC1111's own `.pt` file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from engine.export.base import TRAINED, Composed, Exported, ExportRequest
from engine.export.embedding import named, vectors, write_words
from engine.export.legacy_pickle import PickleFormat, origin, packed

# The token number of "*" in CLIP's vocabulary, the name that the first such files had; readers ignore it.
STAR = 265
SHORT = 10


@dataclass(frozen=True, kw_only=True)
class PtEmbeddingFormat(PickleFormat):
    """One word a file, as with safetensors."""

    def write(self, request: ExportRequest) -> Exported:
        return write_words(request, self.name, super().write)


def pack(request: ExportRequest) -> dict[str, Any]:
    """The dict that is pickled. SDXL's has the two tensors alone: some readers take the first key for a tensor."""
    found = vectors(request)
    if len(found) > 1:
        return dict(named(request))
    (value,) = found.values()
    about = request.about
    return {
        "string_to_token": {"*": STAR},
        "string_to_param": {"*": value},
        "name": about.name,
        "step": request.step,
        "sd_checkpoint": about.base_hash[:SHORT] or None,
        "sd_checkpoint_name": about.base_model,
        "sdtrain": origin(request),
    }


def compose(request: ExportRequest) -> Composed:
    """The tensors of one word."""
    return packed(request, named(request))


FORMAT = PtEmbeddingFormat(
    name="a1111_embedding",
    title="A1111 embedding",
    extension=".pt",
    kind="embedding",
    families=TRAINED,
    opens_in=("AUTOMATIC1111", "ComfyUI", "kohya", "diffusers"),
    compose=compose,
    pack=pack,
)
