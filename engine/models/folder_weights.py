"""The weights of a diffusers folder's parts: which files hold them, and whether they fit the part's config."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path

from engine.errors import UserError
from engine.models.family_spec import Config, FamilySpec
from engine.models.file_names import plain_names
from engine.models.keymap_text import text_names, with_level
from engine.models.keymap_vae import new_attention, vae_names
from engine.tensorfiles.header import MAX_TENSORS, Header, read_header, refuse_kind, sniff

MAX_CONFIG = 4_000_000
# What other classes keep beside a text encoder: a whole CLIP model's other half, buffers, and what only training uses.
_UNREAD = ("vision_model.", "visual_projection.", "logit_scale", "logit_bias", "attn_mask")


def weight_files(folder: Path, part: str) -> list[Path]:
    """The files that hold a part's weights, safetensors before pickles, full precision before a variant.

    A whole file goes before an index, which may be left from another download. Several files when the part is
    sharded; an empty list when there is none.
    """
    stems = stems_of(part)
    for ending in (".safetensors", ".bin"):
        for variant in ("", ".fp16", ".bf16"):
            for stem in stems:
                whole = folder / part / f"{stem}{variant}{ending}"
                if whole.is_file():
                    return [whole]
                shards = _shards(folder / part / f"{stem}{ending}.index{variant}.json") or _shards(
                    folder / part / f"{stem}{variant}{ending}.index.json"
                )
                if shards:
                    return shards
    return []


def stems_of(part: str) -> tuple[str, ...]:
    """The names that a part's weights have, before variant and suffix; the usual one first."""
    return ("model", "pytorch_model") if part.startswith("text_encoder") else ("diffusion_pytorch_model",)


def _shards(index: Path) -> list[Path]:
    if not index.is_file():
        return []
    table = json_object(index).get("weight_map")
    names = sorted({str(name) for name in table.values()}) if isinstance(table, dict) else []
    if any("/" in name or "\\" in name or name.startswith(".") for name in names):
        raise UserError(f"{index} names files outside its folder", fix="download the folder again")
    return [index.parent / name for name in names]


def json_object(file: Path) -> dict[str, object]:
    """A config file's table. UserError where it is missing or holds something else."""
    if not file.is_file():
        raise UserError(f"{file} is missing", fix="copy or download the file into the folder")
    if file.stat().st_size > MAX_CONFIG:
        raise UserError(f"{file} is too large to be a config", why=f"over {MAX_CONFIG} bytes")
    try:
        data = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise UserError(f"{file} is not JSON", why=str(error), fix="download the file again") from error
    if not isinstance(data, dict):
        raise UserError(f"{file} is not a JSON object", fix="download the file again")
    return data


def part_header(folder: Path, part: str) -> Header | None:
    """The headers of a part's files as one; none where one of them is a pickle, which takes torch to read.

    UserError for a cut or false file, and for a name that stands in two shards.
    """
    found = Header({}, {})
    for file in weight_files(folder, part):
        kind = sniff(file)
        if kind == "pickle":
            return None
        if kind != "safetensors":
            raise refuse_kind(file, kind)
        header = read_header(file)
        if twice := found.tensors.keys() & header.tensors.keys():
            raise UserError(
                f"{file} holds {sorted(twice)[0]!r}, which another shard of the {part} holds too",
                why="shards of two downloads lie in one folder",
                fix="empty the folder and download it again",
            )
        found.tensors.update(header.tensors)
    return found


def usual_names(part: str, path: object, names: Iterable[str]) -> dict[str, str]:
    """{name as today's classes have it: the file's own}; text encoders with their `text_model.` level."""
    found = plain_names(path, names)
    if part == "vae":
        return {new_attention(name): own for name, own in found.items()}
    return with_level(found) if part.startswith("text_encoder") else found


def unread(part: str, name: str) -> bool:
    """May a part's file hold this tensor, though its class has none of that name?"""
    if name.endswith("position_ids"):
        return True
    bare = name.removeprefix("text_model.")
    return part.startswith("text_encoder") and bare.startswith((*_UNREAD, "text_projection."))


def expected_names(spec: FamilySpec, part: str, config: Config) -> Iterator[str] | None:
    """Every parameter's name of a part of this config; none where only its class knows them."""
    if part == spec.denoiser:
        return spec.parameter_names(config) if spec.parameter_names is not None else None
    if part == "vae":
        return vae_names(config)
    layers = config.get("num_hidden_layers", 12)  # CLIPTextConfig's own default
    if not isinstance(layers, int):
        return None
    return text_names(layers, spec.text_part(part).projects)


def check_names(spec: FamilySpec, part: str, where: Path, header: Header) -> None:
    """UserError where the files in `where` lack a tensor of the part that its config asks for, or hold one that it
    does not."""
    try:
        names = expected_names(spec, part, json_object(where / "config.json"))
        expected = dict.fromkeys(islice(names, MAX_TENSORS + 1)) if names is not None else {}
    except (UserError, KeyError, TypeError, ValueError, IndexError):
        return  # a config with blocks of its own: its class decides when it is loaded
    if len(expected) > MAX_TENSORS:
        raise UserError(
            f"{where / 'config.json'} describes more than {MAX_TENSORS} tensors",
            why="no model has so many: a number in it is wrong",
            fix="download the file again",
        )
    if expected:
        compare(spec, part, where, expected, usual_names(part, where, header.tensors))


def compare(
    spec: FamilySpec, part: str, where: Path, expected: Iterable[str], held: Mapping[str, str]
) -> None:
    """UserError naming the part and the first tensor that is missing, or that belongs to nothing."""
    wanted = dict.fromkeys(expected)
    missing = [name for name in wanted if name not in held and not name.endswith("position_ids")]
    extra = [own for name, own in held.items() if name not in wanted and not unread(part, name)]
    if missing:
        why = f"for example {missing[0]}"
        why += f"; it holds {extra[0]}, which belongs to nothing" if extra else ""
        raise UserError(
            f"the {part} in {where} lacks {len(missing)} of its {len(wanted)} tensors",
            why=f"{why}: without them they would be random numbers",
            fix="the files are incomplete, or of another model than the config: get them again",
        )
    if extra:
        raise UserError(
            f"the {part} in {where} has {len(extra)} tensors that its config has no place for",
            why=f"for example {extra[0]}",
            fix=f"give the plain model of {spec.short}, or the config.json that belongs to these weights",
        )
