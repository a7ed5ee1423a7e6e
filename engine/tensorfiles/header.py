"""Reads a safetensors file's header without torch, and believes nothing that it says unchecked."""

import json
import math
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from engine.errors import UserError
from engine.files import read_plain

MAX_HEADER = 32 * 1024 * 1024  # SDXL's header is 0.3 MB
LONGEST_HEADER = 100_000_000
"""The format's own limit."""
MAX_TENSORS = 100_000
MAX_DIMENSIONS = 8

# Bits of one element, by the format's dtype names.
BITS = {
    "BOOL": 8, "U8": 8, "I8": 8, "F8_E4M3": 8, "F8_E5M2": 8, "F8_E8M0": 8, "F4": 4,
    "F6_E2M3": 6, "F6_E3M2": 6, "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8,
    "U16": 16, "I16": 16, "F16": 16, "BF16": 16,
    "U32": 32, "I32": 32, "F32": 32, "C64": 64, "U64": 64, "I64": 64,
    "F64": 64,
}  # fmt: skip


@dataclass(frozen=True)
class TensorInfo:
    """One tensor: its dtype in safetensors' spelling, its shape, and its bytes' place in the file."""

    dtype: str
    shape: tuple[int, ...]
    start: int = 0
    end: int = 0


@dataclass(frozen=True)
class Header:
    """What a weights file holds, by name, and its text metadata."""

    tensors: dict[str, TensorInfo]
    metadata: dict[str, str]


def sniff(path: Path) -> str:
    """What a file is by its first bytes: "safetensors", "pickle", or a phrase for something else."""
    try:
        head = read_plain(path, 512)
    except OSError as error:
        raise UserError(
            f"{path} cannot be read", why=error.strerror or str(error), fix="check the path"
        ) from error
    text = head.lstrip().lower()
    if not head:
        return "an empty file"
    # First of all: a header's length may be any other format's first bytes (0x0280 a pickle's, 0x8b1f gzip's).
    if head[8:9] == b"{" and int.from_bytes(head[:8], "little") <= LONGEST_HEADER:
        return "safetensors"
    if head.startswith(b"version https://git-lfs"):
        return "a Git LFS pointer, not the weights themselves"
    if text.startswith((b"<!doctype", b"<html", b"<?xml", b"<head")):
        return "a web page"
    for magic, kind in _MAGIC.items():
        if head.startswith(magic):
            return kind
    if head[:1] == b"\x80" and head[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05"):
        return "pickle"
    if head[8:9] == b"{":
        return "safetensors"
    return "a JSON file" if text.startswith((b"{", b"[")) else "no weights file that sdtrain knows"


_MAGIC = {
    b"PK\x03\x04": "pickle",  # torch.save writes a zip
    b"GGUF": "a GGUF file (quantised weights)",
    b"\x89PNG": "a PNG picture",
    b"\xff\xd8\xff": "a JPEG picture",
    b"\x89HDF": "an HDF5 file",
    b"7z\xbc\xaf": "a 7-Zip archive",
    b"Rar!": "a RAR archive",
    b"\x1f\x8b": "a gzip archive",
}

_HOW_TO_GET = {
    "a web page": "the site's page was saved: download the file itself, from its direct link and logged in",
    "a Git LFS pointer, not the weights themselves": "run `git lfs pull` in that folder",
    "an empty file": "download the file again",
    "a GGUF file (quantised weights)": "training needs the unquantised .safetensors of the model",
}


def refuse_kind(path: Path, kind: str) -> UserError:
    """The error for a file that holds no weights."""
    fix = _HOW_TO_GET.get(kind, "give a .safetensors or .ckpt file, or a diffusers folder")
    return UserError(f"{path} is {kind}", why="its first bytes say so, whatever its name says", fix=fix)


def read_header(path: Path) -> Header:
    """The tensors and metadata of a safetensors file; reads the header only, never the weights.

    Raises UserError naming the file when it is something else, cut short, or inconsistent: an oversized
    header, doubled names, unknown dtypes, byte ranges that overlap, leave holes, or do not fit shape and
    file.
    """
    kind = sniff(path)
    if kind != "safetensors":
        raise refuse_kind(path, "a pickle file" if kind == "pickle" else kind)
    size = path.stat().st_size
    with path.open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        if length > MAX_HEADER:
            raise _broken(path, f"its header claims {length} bytes; {MAX_HEADER} is the limit")
        if 8 + length > size:
            raise _cut(path, f"the header alone needs {8 + length} bytes and the file has {size}")
        raw = file.read(length)
    return parse_header(path, raw, size)


@lru_cache(maxsize=8)  # a forecast looks at each part of its base twice, for its family and for its size
def parse_header(path: Path, raw: bytes, size: int) -> Header:
    """Checks a header's JSON against the size of its file, in bytes. The same header is the same object."""
    try:
        data = json.loads(raw.decode("utf-8"), object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        raise _broken(
            path, f"its header is not the JSON that the format asks for ({str(error)[:200]})"
        ) from error
    if not isinstance(data, dict):
        raise _broken(path, "its header is not a JSON object")
    if len(data) > MAX_TENSORS:
        raise _broken(path, f"it claims {len(data)} tensors; {MAX_TENSORS} is the limit")
    metadata = data.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise _broken(path, "its metadata is not a table of texts")
    base = 8 + len(raw)
    tensors = {name: _tensor(path, name, entry, base) for name, entry in data.items()}
    _check_ranges(path, tensors.values(), base, size)
    return Header(tensors, metadata)


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    table = dict(pairs)
    if len(table) != len(pairs):
        raise ValueError("a name occurs twice")
    return table


def _tensor(path: Path, name: str, entry: object, base: int) -> TensorInfo:
    fields = entry if isinstance(entry, dict) else {}
    dtype, shape, offsets = (
        fields.get("dtype"),
        _naturals(fields.get("shape")),
        _naturals(fields.get("data_offsets")),
    )
    if not isinstance(dtype, str) or dtype not in BITS:
        raise _broken(path, f"tensor {_short(name)} has the unknown dtype {_short(dtype)}")
    if shape is None or len(shape) > MAX_DIMENSIONS:
        raise _broken(path, f"tensor {_short(name)} has no proper shape")
    if offsets is None or len(offsets) != 2 or offsets[0] > offsets[1]:
        raise _broken(path, f"tensor {_short(name)} has no proper byte range")
    length = offsets[1] - offsets[0]
    if math.prod(shape) * BITS[dtype] != 8 * length:
        raise _broken(path, f"tensor {_short(name)} of shape {list(shape)} does not fill its {length} bytes")
    return TensorInfo(dtype, shape, base + offsets[0], base + offsets[1])


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 200 else f"{text[:197]}..."


def _naturals(value: object) -> tuple[int, ...] | None:
    if isinstance(value, list) and all(type(item) is int and 0 <= item < 2**63 for item in value):
        return tuple(value)
    return None


def _check_ranges(path: Path, tensors: Iterable[TensorInfo], base: int, size: int) -> None:
    """The byte ranges must follow one another from the header's end to the file's end."""
    here = base
    for info in sorted(tensors, key=lambda item: (item.start, item.end)):
        if info.start != here:
            raise _broken(path, "its tensors' byte ranges overlap or leave holes")
        here = info.end
    if here > size:
        raise _cut(path, f"its tensors need {here} bytes and the file has {size}")
    if here < size:
        raise _broken(path, f"{size - here} bytes behind the last tensor belong to nothing")


def _broken(path: Path, why: str) -> UserError:
    return UserError(
        f"{path} is not a sound .safetensors file", why=why, fix="download or export the file again"
    )


def _cut(path: Path, why: str) -> UserError:
    return UserError(
        f"{path} is cut short", why=why, fix="the download or copy did not finish: fetch the file again"
    )
