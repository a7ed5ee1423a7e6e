"""What a file of word embeddings holds, by its names: vectors for each text encoder, in every form that is about.

The forms: `emb_params` (kohya, this program), `string_to_param` with "*" (AUTOMATIC1111's .pt), `clip_l` and `clip_g`
(SDXL), and diffusers' learned_embeds, whose tensors are named by their words; on SDXL its second text encoder has a
file of its own beside, learned_embeds_2.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from engine.errors import UserError
from engine.models.family_spec import FamilySpec
from engine.models.file_table import FileTable, file_table

EMBEDDING = "a textual inversion embedding"
_PARAM = "string_to_param."
_PLAIN = ("emb_params", "clip_l", "clip_g", "clip_h")


@dataclass(frozen=True)
class Place:
    """Where a word's vectors of one text encoder lie: [vectors, width], or [width] for one."""

    path: Path
    name: str
    vectors: int
    width: int


def read_embedding(path: Path, spec: FamilySpec, words: Sequence[str]) -> dict[str, Mapping[str, Place]]:
    """For each word the place of its vectors by text encoder. UserError names what does not fit.

    A file without words of its own holds one word, whatever that is called.
    """
    table = file_table(path)
    found = _named_by_part(table, spec) or _named_by_word(table, spec, words)
    if not found:
        kind = table.kind or "no file of a word"
        first = next(iter(table.shapes), "nothing")
        raise UserError(
            f"{path} is {kind}", f"it holds {first!r}", "name a textual inversion's file, or leave it out"
        )
    if len(words) != len(found):
        why = f"the plan teaches {len(words)}: {', '.join(words)}"
        fix = "name the file of these words, or leave it out"
        raise UserError(f"{path} holds {len(found)} word(s)", why, fix)
    lacks = [part.name for part in spec.text if any(part.name not in places for places in found.values())]
    if lacks:
        why = f"{spec.title} reads a word in {len(spec.text)} text encoder(s), and it has none for {', '.join(lacks)}"
        raise UserError(f"{path} is of another family", why, "name a file of this family, or leave it out")
    return found


def _named_by_part(table: FileTable, spec: FamilySpec) -> dict[str, Mapping[str, Place]]:
    """One word under the names that programs look for."""
    names = {name: name for name in table.shapes if name in _PLAIN}
    if param := next((name for name in table.shapes if name.startswith(_PARAM)), ""):
        names["emb_params"] = param
    if not names:
        return {}
    places = {
        part.name: _place(table, names[part.embedding]) for part in spec.text if part.embedding in names
    }
    return {"": places}


def _named_by_word(
    table: FileTable, spec: FamilySpec, words: Sequence[str]
) -> dict[str, Mapping[str, Place]]:
    """diffusers' form: a tensor a word, and a file a text encoder."""
    if table.kind not in ("", EMBEDDING) or not all(len(shape) in (1, 2) for shape in table.shapes.values()):
        return {}
    known = [word for word in words if word in table.shapes]
    # One word that was called otherwise is still the word.
    own = known or (list(table.shapes) if len(words) == len(table.shapes) == 1 else [])
    found: dict[str, Mapping[str, Place]] = {}
    for word in own:
        places = {}
        for number, part in enumerate(spec.text):
            beside = table if number == 0 else _beside(table.path, number + 1)
            if beside is not None and word in beside.shapes:
                places[part.name] = _place(beside, word)
        found[word] = places
    return found


def _beside(path: Path, number: int) -> FileTable | None:
    other = path.with_name(f"{path.stem}_{number}{path.suffix}")
    return file_table(other) if other.is_file() else None


def _place(table: FileTable, name: str) -> Place:
    shape = table.shapes[name]
    if len(shape) not in (1, 2) or 0 in shape:
        raise UserError(
            f"{table.path}: {name!r} is no list of vectors", f"its shape is {list(shape)}", "name another"
        )
    return Place(table.path, name, shape[0] if len(shape) == 2 else 1, shape[-1])
