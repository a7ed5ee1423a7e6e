"""A safetensors header is read only when every claim in it is consistent; anything else is an error by name."""

import json
import pickle
import random
import struct
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from engine.errors import UserError
from engine.tensorfiles import header
from engine.tensorfiles.header import read_header, sniff


def _raw(table: object, data: bytes = b"", length: int | None = None) -> bytes:
    text = table if isinstance(table, bytes) else json.dumps(table).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def _entry(dtype: object = "F32", shape: object = (2,), offsets: object = (0, 8)) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}


def test_names_shapes_dtypes_metadata_and_places_are_those_of_the_file(tmp_path: Path) -> None:
    tensors = {
        "a": torch.arange(6.0).reshape(2, 3),
        "b": torch.ones(3, dtype=torch.bfloat16),
        "c": torch.tensor(2),
    }
    save_file(tensors, tmp_path / "m.safetensors", metadata={"note": "ü"})
    found = read_header(tmp_path / "m.safetensors")
    assert {name: (info.dtype, info.shape) for name, info in found.tensors.items()} == {
        "a": ("F32", (2, 3)),
        "b": ("BF16", (3,)),
        "c": ("I64", ()),
    }
    assert found.metadata == {"note": "ü"}
    raw = (tmp_path / "m.safetensors").read_bytes()
    info = found.tensors["a"]
    assert raw[info.start : info.end] == tensors["a"].numpy().tobytes()


HOSTILE: dict[str, tuple[bytes, str]] = {
    "claims a huge header": (_raw({}, length=2**62), "limit"),
    "claims a header past the end": (_raw({}, length=5000), "cut short"),
    "is not JSON": (_raw(b"{nonsense}"), "JSON"),
    "is not UTF-8": (_raw(b'{"\xff\xfe": 1}'), "JSON"),
    "is nested without end": (_raw(b'{"a":' + b"[" * 200_000), "JSON"),
    "is a list behind a brace": (_raw(b'{"a": 1}]'), "JSON"),
    "has a name twice": (_raw(b'{"a": {}, "a": {}}'), "twice"),
    "has an entry that is no table": (_raw({"a": 3}), "dtype"),
    "has an unknown dtype": (_raw({"a": _entry("F99")}, b"\0" * 8), "F99"),
    "has a dtype that is no text": (_raw({"a": _entry(["F32"])}, b"\0" * 8), "dtype"),
    "has a negative size": (_raw({"a": _entry(shape=[-2])}, b"\0" * 8), "shape"),
    "has a boolean size": (_raw({"a": _entry(shape=[True])}, b"\0" * 8), "shape"),
    "has a fractional size": (_raw({"a": _entry(shape=[2.0])}, b"\0" * 8), "shape"),
    "has too many dimensions": (_raw({"a": _entry(shape=[1] * 100)}, b"\0" * 4), "shape"),
    "has an endless number": (_raw(b'{"a": {"dtype": "F32", "shape": [' + b"9" * 9000 + b"]}}"), "JSON"),
    "has a size beyond 64 bits": (_raw({"a": _entry(shape=[2**70])}, b"\0" * 8), "shape"),
    "has backward offsets": (_raw({"a": _entry(offsets=[8, 0])}, b"\0" * 8), "byte range"),
    "has one offset": (_raw({"a": _entry(offsets=[8])}, b"\0" * 8), "byte range"),
    "has a shape that does not fill its bytes": (_raw({"a": _entry(shape=[3])}, b"\0" * 8), "does not fill"),
    "has overlapping tensors": (_raw({"a": _entry(), "b": _entry(offsets=[4, 12])}, b"\0" * 12), "overlap"),
    "has a hole": (_raw({"a": _entry(), "b": _entry(offsets=[16, 24])}, b"\0" * 24), "holes"),
    "has bytes left over": (_raw({"a": _entry()}, b"\0" * 9), "belong to nothing"),
    "was cut in the tensors": (_raw({"a": _entry()}, b"\0" * 5), "cut short"),
    "has metadata that is no table": (_raw({"__metadata__": [1], "a": _entry()}, b"\0" * 8), "metadata"),
    "has metadata that is no text": (_raw({"__metadata__": {"a": 1}, "b": _entry()}, b"\0" * 8), "metadata"),
    "is seven bytes": (b"\1\2\3\4\5\6\7", "no weights file"),
    "is empty": (b"", "empty"),
    "is a web page": (b"<!DOCTYPE html><html>Sign in</html>", "web page"),
    "is a spaced web page": (b"\n\n  <html lang=en>", "web page"),
    "is an LFS pointer": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "LFS"),
    "is GGUF": (b"GGUF\3\0\0\0" + b"\0" * 64, "GGUF"),
    "is a picture": (b"\x89PNG\r\n\x1a\n" + b"\0" * 64, "PNG"),
    "is a pickle": (b"\x80\x02}q\x00.", "pickle"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_file_is_refused_by_name_when_it(name: str, tmp_path: Path) -> None:
    raw, word = HOSTILE[name]
    file = tmp_path / "model.safetensors"
    file.write_bytes(raw)
    with pytest.raises(UserError) as caught:
        read_header(file)
    assert "model.safetensors" in caught.value.what
    assert word in str(caught.value)
    assert caught.value.fix


def test_too_many_tensors_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(header, "MAX_TENSORS", 3)
    file = tmp_path / "m.safetensors"
    file.write_bytes(_raw({str(index): _entry(shape=[0], offsets=[0, 0]) for index in range(4)}))
    with pytest.raises(UserError, match="not a sound"):
        read_header(file)


def test_no_change_of_bytes_brings_anything_but_a_user_error(tmp_path: Path) -> None:
    save_file({"a": torch.zeros(4), "b": torch.zeros(2, 3)}, tmp_path / "good", metadata={"k": "v"})
    good = (tmp_path / "good").read_bytes()
    draw = random.Random(3)
    file = tmp_path / "bad.safetensors"
    refused = 0
    for _ in range(1500):
        raw = bytearray(good)
        for _ in range(draw.randint(1, 4)):
            raw[draw.randrange(len(raw) - 40)] = draw.randrange(256)
        file.write_bytes(bytes(raw[: draw.choice([len(raw), len(raw), draw.randrange(len(raw))])]))
        try:
            read_header(file)
        except UserError:
            refused += 1
    assert refused > 1000


def test_a_file_that_cannot_be_opened_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"gone\.safetensors"):
        sniff(tmp_path / "gone.safetensors")


@pytest.mark.parametrize("low", [*range(0x7C, 0x84), 0x1F, 0x3C, 0x4D, 0x50, 0x7B])
@pytest.mark.parametrize("high", [0x02, 0x03, 0x04, 0x05, 0x8B])
def test_a_headers_length_may_look_like_the_start_of_any_other_format(
    low: int, high: int, tmp_path: Path
) -> None:
    length = high << 8 | low
    table = json.dumps({"a": _entry()}).encode().ljust(length)
    file = tmp_path / "m.safetensors"
    file.write_bytes(_raw(table, b"\0" * 8))
    assert sniff(file) == "safetensors"
    assert set(read_header(file).tensors) == {"a"}


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_a_pickle_is_told_by_any_of_its_starts(protocol: int, tmp_path: Path) -> None:
    file = tmp_path / "m.safetensors"
    for data in ({}, {"a": 1}, {"{": "{" * 600}, ["{"] * 9):
        file.write_bytes(pickle.dumps(data, protocol))
        assert sniff(file) == "pickle"
