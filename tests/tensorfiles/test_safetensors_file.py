"""A written file is the library's own, byte for byte, appears whole or not at all, and is compared after writing."""

import errno
import io
import os
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

from engine.errors import UserError
from engine.tensorfiles.header import read_header
from engine.tensorfiles.safetensors_file import serialise, verify, write_safetensors

TENSORS = {
    "half": torch.arange(6.0).half().reshape(2, 3),
    "b.full": torch.arange(8.0).reshape(2, 2, 2),
    "a.full": torch.ones(3),
    "brain": torch.ones(5, dtype=torch.bfloat16),
    "alpha": torch.tensor(3.5),
    "count": torch.tensor([1, 2]),
    "flags": torch.tensor([True, False]),
    "empty": torch.zeros(0),
    "sliced": torch.arange(20.0).reshape(4, 5).t()[1:3],
}


def test_the_bytes_are_those_that_the_library_writes() -> None:
    whole = {name: tensor.contiguous() for name, tensor in TENSORS.items()}
    assert b"".join(serialise(TENSORS, {"one": "entry"})) == safetensors.torch.save(whole, {"one": "entry"})
    assert b"".join(serialise(TENSORS, {})) == safetensors.torch.save(whole)


def test_floating_tensors_take_the_dtype_and_single_numbers_and_integers_keep_theirs(tmp_path: Path) -> None:
    file = tmp_path / "m.safetensors"
    size = write_safetensors(file, TENSORS, {"k": "é"}, dtype=torch.float16)
    assert size == file.stat().st_size
    found = read_header(file)
    dtypes = {name: info.dtype for name, info in found.tensors.items()}
    assert (dtypes["a.full"], dtypes["brain"], dtypes["alpha"], dtypes["count"]) == (
        "F16",
        "F16",
        "F32",
        "I64",
    )
    assert found.metadata == {"k": "é"}
    verify(file, TENSORS, {"k": "é"}, dtype=torch.float16)


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (lambda tensors, notes: tensors.pop("half"), "unexpected"),
        (lambda tensors, notes: tensors.update(new=torch.ones(1)), "missing"),
        (lambda tensors, notes: tensors.update(half=torch.zeros(2, 3).half()), "other values"),
        (lambda tensors, notes: tensors.update(half=torch.arange(6.0).half()), "half is"),
        (lambda tensors, notes: tensors.update(half=TENSORS["half"].float()), "half is"),
        (lambda tensors, notes: notes.update(a="c"), "metadata"),
    ],
)
def test_a_file_that_is_not_what_was_asked_for_is_found(change: Any, word: str, tmp_path: Path) -> None:
    file = tmp_path / "m.safetensors"
    write_safetensors(file, TENSORS, {"a": "b"})
    tensors, notes = dict(TENSORS), {"a": "b"}
    change(tensors, notes)
    with pytest.raises(UserError, match="read back") as caught:
        verify(file, tensors, notes)
    assert word in caught.value.why


def test_one_flipped_bit_is_found(tmp_path: Path) -> None:
    file = tmp_path / "m.safetensors"
    write_safetensors(file, TENSORS, {})
    raw = bytearray(file.read_bytes())
    raw[-2] ^= 1
    file.write_bytes(bytes(raw))
    with pytest.raises(UserError, match="read back"):
        verify(file, TENSORS, {})


def test_values_beyond_half_precision_are_refused(tmp_path: Path) -> None:
    big = {"w": torch.tensor([1.0, 1e6])}
    file = tmp_path / "m.safetensors"
    with pytest.raises(UserError, match="not finite"):
        write_safetensors(file, big, {}, dtype=torch.float16, check=lambda path: _verify_half(path, big))
    assert list(tmp_path.iterdir()) == []


def _verify_half(path: Path, tensors: dict[str, torch.Tensor]) -> None:
    verify(path, tensors, {}, dtype=torch.float16)


def test_a_failed_check_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    file = tmp_path / "m.safetensors"
    file.write_bytes(b"old")

    def refuse(path: Path) -> None:
        assert path != file
        assert path.parent == tmp_path
        raise UserError("no")

    with pytest.raises(UserError, match="no"):
        write_safetensors(file, TENSORS, {}, check=refuse)
    assert file.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [file]


def test_a_full_disk_is_told_by_its_number_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(fd: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="space") as caught:
        write_safetensors(tmp_path / "m.safetensors", TENSORS, {})
    assert caught.value.errno == errno.ENOSPC
    assert list(tmp_path.iterdir()) == []


def test_the_library_reads_what_was_written(tmp_path: Path) -> None:
    file = tmp_path / "m.safetensors"
    write_safetensors(file, TENSORS, {})
    loaded = safetensors.torch.load(io.BytesIO(file.read_bytes()).read())
    assert loaded.keys() == TENSORS.keys()
    assert all(torch.equal(loaded[name], tensor) for name, tensor in TENSORS.items())
