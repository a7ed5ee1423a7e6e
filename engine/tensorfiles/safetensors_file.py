"""Writes and checks safetensors files: whole or not at all, one tensor in memory at a time, errors as they
are.

The file has the same bytes as safetensors' own `save_file` writes (but for the order of the metadata). It is
written here because the library reports a full disk as text, and needs every tensor converted in memory at
once.
"""

import json
import os
import struct
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

import torch
from safetensors import safe_open

from engine.errors import UserError
from engine.folders import fsync_dir
from engine.tensorfiles.dtypes import NAMES
from engine.tensorfiles.header import MAX_HEADER, Header, read_header

Buffer = bytes | memoryview

# In the order in which safetensors lays tensors out: the wider dtype first, then by name.
_ORDER = ("U64", "I64", "F64", "C64", "F32", "U32", "I32", "BF16", "F16", "U16", "I16", "I8", "U8", "BOOL")


def write_safetensors(
    path: Path,
    tensors: Mapping[str, torch.Tensor],
    metadata: Mapping[str, str],
    *,
    dtype: torch.dtype | None = None,
    check: Callable[[Path], None] | None = None,
) -> int:
    """Writes the tensors, floating ones as `dtype`, and gives the file its name only when it is whole.

    A temporary file beside it is written, fsynced, passed to `check` (which may raise), renamed, and the
    folder fsynced. Returns the file's size in bytes. OSError (a full disk, no permission) leaves no file
    behind.
    """
    with atomic_file(path, check) as file:
        for chunk in serialise(tensors, metadata, dtype):
            file.write(chunk)
    return path.stat().st_size


def serialise(
    tensors: Mapping[str, torch.Tensor], metadata: Mapping[str, str], dtype: torch.dtype | None = None
) -> Iterator[Buffer]:
    """The file's bytes: the header, then each tensor in turn, good until the next one is asked for."""
    kinds = {name: target_dtype(tensor, dtype) for name, tensor in tensors.items()}
    names = sorted(tensors, key=lambda name: (_ORDER.index(NAMES[kinds[name]]), name))
    entries: dict[str, object] = {"__metadata__": dict(sorted(metadata.items()))} if metadata else {}
    offset = 0
    for name in names:
        end = offset + tensors[name].numel() * kinds[name].itemsize
        entries[name] = {
            "dtype": NAMES[kinds[name]],
            "shape": list(tensors[name].shape),
            "data_offsets": [offset, end],
        }
        offset = end
    header = json.dumps(entries, separators=(",", ":"), ensure_ascii=False).encode()
    header += b" " * (-len(header) % 8)
    if len(header) > MAX_HEADER:
        raise UserError("the file's metadata is too long", why=f"its header has {len(header)} bytes")
    yield struct.pack("<Q", len(header)) + header
    for name in names:
        flat = tensors[name].detach().to("cpu", kinds[name]).contiguous().reshape(-1)
        yield flat.view(torch.uint8).numpy().data


def target_dtype(tensor: torch.Tensor, dtype: torch.dtype | None) -> torch.dtype:
    """Floating tensors take the asked dtype; integers and single numbers (a LoRA's alpha) keep their own."""
    return dtype if dtype is not None and tensor.is_floating_point() and tensor.dim() > 0 else tensor.dtype


@contextmanager
def atomic_file(path: Path, check: Callable[[Path], None] | None = None) -> Iterator[BinaryIO]:
    """A file for writing that takes its final name only after it is complete, on disk, and passed `check`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with temporary.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        if check is not None:
            check(temporary)
        temporary.replace(path)
    finally:
        with suppress(FileNotFoundError):
            temporary.unlink()
    fsync_dir(path.parent)


def verify(
    path: Path,
    expected: Mapping[str, torch.Tensor],
    metadata: Mapping[str, str],
    *,
    dtype: torch.dtype | None = None,
) -> Header:
    """Loads the file back key by key; UserError names the first name, shape, dtype or value that differs."""
    header = read_header(path)
    missing, extra = expected.keys() - header.tensors.keys(), header.tensors.keys() - expected.keys()
    if missing or extra:
        raise _differs(path, f"missing {sorted(missing)[:3]}, unexpected {sorted(extra)[:3]}")
    if header.metadata != dict(metadata):
        changed = sorted(
            key for key in {*header.metadata, *metadata} if header.metadata.get(key) != metadata.get(key)
        )
        raise _differs(path, f"its metadata {changed[:3]} is not what was asked for")
    with safe_open(str(path), framework="pt", device="cpu") as reader:
        for name, tensor in expected.items():
            stored = reader.get_tensor(name)
            wanted = tensor.detach().to("cpu", target_dtype(tensor, dtype))
            if stored.dtype != wanted.dtype or stored.shape != wanted.shape:
                raise _differs(path, f"{name} is {stored.dtype} {list(stored.shape)}")
            if not torch.isfinite(stored).all():
                raise UserError(
                    f"{path.name} was not written: {name} holds values that are not finite",
                    why="they are not finite in training already, or too large for the file's dtype",
                    fix="export an earlier checkpoint, or set output.dtype to fp32",
                )
            if not torch.equal(stored, wanted):
                raise _differs(path, f"{name} has other values")
    return header


def _differs(path: Path, why: str) -> UserError:
    return UserError(
        f"{path.name} does not read back as it was written",
        why=why,
        fix="check the disk, then export again; the checkpoint is untouched",
    )
