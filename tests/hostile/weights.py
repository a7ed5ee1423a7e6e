"""Hostile weights: safetensors with false headers, and pickles that would run a program."""

from __future__ import annotations

import json
import os
import pickle
import struct
import zipfile
from collections.abc import Callable, Iterator
from io import BytesIO

from tests.hostile.case import ESCAPE, Box, Hostile, safetensors

DEEP = 100_000


def _header(**tensors: object) -> bytes:
    return json.dumps(tensors).encode()


def _tensor(start: object, end: object, shape: object = (1,), dtype: object = "F32") -> dict[str, object]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}


_ONE = _tensor(0, 4)

SAFETENSORS: dict[str, bytes] = {
    "nothing": b"",
    "seven bytes": b"\x02\0\0\0\0\0\0",
    "a length alone": struct.pack("<Q", 100),
    "a length of 2 ** 63": safetensors(b"{}", length=2**63),
    "a length of 2 ** 64 - 1": safetensors(b"{}", length=2**64 - 1),
    "a length of 99 MB": safetensors(b"{}", length=99_000_000),
    "a length of nothing": safetensors(b"", length=0),
    "a head of blanks": safetensors(b" " * 1000),
    "a head of 20 MB of blanks": safetensors(b"{" + b" " * 20_000_000 + b"}"),
    "a head that is a list": safetensors(b"[]"),
    "a head that is no JSON": safetensors(b"{rubbish}"),
    "a head that is no UTF-8": safetensors(b'{"\xff": 1}'),
    "a head with a byte order mark": safetensors(b"\xef\xbb\xbf{}"),
    "a head deeper than Python's stack": safetensors(b'{"a": ' + b"[" * DEEP),
    "a head of 5,000 digits": safetensors(b'{"a": ' + b"9" * 5000 + b"}"),
    "a head of NaN": safetensors(b'{"a": {"dtype": "F32", "shape": [NaN], "data_offsets": [0, 4]}}', bytes(4)),
    "no tensors": safetensors(b"{}"),
    "metadata alone": safetensors(b'{"__metadata__": {"a": "b"}}'),
    "metadata of numbers": safetensors(b'{"__metadata__": {"a": 5}}'),
    "metadata that is a list": safetensors(b'{"__metadata__": []}'),
    "metadata of escapes": safetensors(_header(__metadata__={ESCAPE: ESCAPE}, a=_ONE), bytes(4)),
    "two tensors at one place": safetensors(_header(a=_ONE, b=_ONE), bytes(4)),
    "overlapping tensors": safetensors(_header(a=_ONE, b=_tensor(2, 6)), bytes(6)),
    "a hole": safetensors(_header(a=_ONE, b=_tensor(8, 12)), bytes(12)),
    "bytes behind the last": safetensors(_header(a=_ONE), bytes(4000)),
    "too few bytes": safetensors(_header(a=_tensor(0, 4000, [1000])), bytes(4)),
    "a terabyte": safetensors(_header(a=_tensor(0, 2**40, [2**38])), bytes(4)),
    "offsets turned round": safetensors(_header(a=_tensor(4, 0)), bytes(4)),
    "offsets below zero": safetensors(_header(a=_tensor(-4, 0)), bytes(4)),
    "offsets of texts": safetensors(_header(a=_tensor("0", "4")), bytes(4)),
    "offsets of fractions": safetensors(_header(a=_tensor(0.0, 4.0)), bytes(4)),
    "offsets of true": safetensors(_header(a=_tensor(False, True, [1], "U8")), bytes(1)),
    "offsets of 2 ** 64": safetensors(_header(a=_tensor(2**64, 2**64 + 4)), bytes(4)),
    "a shape of 2 ** 62": safetensors(_header(a=_tensor(0, 4, [2**62, 2**62])), bytes(4)),
    "a shape below zero": safetensors(_header(a=_tensor(0, 4, [-1])), bytes(4)),
    "a shape of nothing": safetensors(_header(a=_tensor(0, 0, [0, 2**62])), b""),
    "a shape of 10,000 numbers": safetensors(_header(a=_tensor(0, 4, [1] * 10_000)), bytes(4)),
    "a shape of texts": safetensors(_header(a=_tensor(0, 4, ["1"])), bytes(4)),
    "no shape": safetensors(_header(a={"dtype": "F32", "data_offsets": [0, 4]}), bytes(4)),
    "a tensor that is a number": safetensors(_header(a=5)),
    "an unknown dtype": safetensors(_header(a=_tensor(0, 4, [1], "F33")), bytes(4)),
    "a dtype of escapes": safetensors(_header(a=_tensor(0, 4, [1], ESCAPE)), bytes(4)),
    "a dtype that is a list": safetensors(_header(a=_tensor(0, 4, [1], ["F32"])), bytes(4)),
    "a name twice": safetensors(b'{"a": {"dtype": "U8", "shape": [1], "data_offsets": [0, 1]}, "a": {"dtype": "U8", "shape": [1], "data_offsets": [0, 1]}}', b"\0"),
    "a name of nothing": safetensors(json.dumps({"": _ONE}).encode(), bytes(4)),
    "a name of escapes": safetensors(json.dumps({ESCAPE: _ONE}).encode(), bytes(4)),
    "a name of a megabyte": safetensors(json.dumps({"a" * 1_000_000: _ONE}).encode(), bytes(4)),
    "150,000 tensors": safetensors(json.dumps({f"t{n}": _tensor(0, 0, [0]) for n in range(150_000)}).encode()),
    "a UNet's names of odd shapes": safetensors(_header(**{
        "model.diffusion_model.input_blocks.0.0.weight": _tensor(0, 4),
        "cond_stage_model.transformer.text_model.embeddings.position_ids": _tensor(4, 4, [0]),
        "first_stage_model.encoder.conv_in.weight": _tensor(4, 4, [0]),
    }), bytes(4)),
    "a LoRA": safetensors(_header(**{"lora_unet_x.lora_down.weight": _ONE}), bytes(4)),
    "a Git pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 4265380512\n",
    "a web page": b"<!DOCTYPE html><html>login</html>",
    "a script": b"#!/bin/sh\ntouch ran\n",
    "a GGUF": b"GGUF" + bytes(100),
}  # fmt: skip


class _Runs:
    """What makes a file when it is unpickled."""

    def __init__(self, function: Callable[..., object], *given: object) -> None:
        self.function, self.given = function, given

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return self.function, self.given


def _zip(data: bytes, name: str = "archive/data.pkl", **more: bytes) -> bytes:
    out = BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr(name, data)
        archive.writestr("archive/version", "3\n")
        archive.writestr("archive/byteorder", "little")
        for key, content in more.items():
            archive.writestr(f"archive/data/{key}", content)
    return out.getvalue()


def _zip_bomb() -> bytes:
    out = BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", bytes(300 << 20))
    return out.getvalue()


def _opcodes(text: bytes) -> bytes:
    """A pickle by hand; see the table in pickletools."""
    return b"\x80\x02" + text + b"."


PICKLES: dict[str, Callable[[], bytes]] = {
    "a command": lambda: _zip(pickle.dumps(_Runs(os.system, "touch ran"), 2)),
    "a command, in the old form": lambda: pickle.dumps(_Runs(os.system, "touch ran"), 2),
    "a command in a state_dict": lambda: _zip(pickle.dumps({"state_dict": {"a": _Runs(os.system, "touch ran")}}, 2)),
    "eval": lambda: _zip(pickle.dumps(_Runs(eval, "open('ran', 'w')"), 2)),
    "exec": lambda: _zip(pickle.dumps(_Runs(exec, "open('ran', 'w')"), 2)),
    "an import": lambda: _zip(pickle.dumps(_Runs(__import__, "this"), 2)),
    "getattr": lambda: _zip(pickle.dumps(_Runs(getattr, 5, "real"), 2)),
    "a file that is opened": lambda: _zip(pickle.dumps(_Runs(open, "ran", "w"), 2)),
    "a name of escapes": lambda: _zip(_opcodes(b"c\x1b[2Jos\n\x1b[31msystem\nq\0")),
    "a name of 100,000 letters": lambda: _zip(_opcodes(b"c" + b"a" * 100_000 + b"\nb\n")),
    "a harmless type with arguments": lambda: _zip(_opcodes(b"cargparse\nNamespace\nU\x08touch ran\x85R")),
    "100 types": lambda: _zip(_opcodes(b"".join(b"cpytorch_lightning.a%d\nB\n" % n for n in range(100)))),
    "a number of 2 GB": lambda: _zip(_opcodes(b"\x8b\xff\xff\xff\x7f")),
    "a text of 4 GB": lambda: _zip(_opcodes(b"X\xff\xff\xff\xff")),
    "a memo of 2 ** 31": lambda: _zip(_opcodes(b"Nr\xff\xff\xff\x7f")),
    "a billion laughs": lambda: _zip(_opcodes(b"]q\0" + b"".join(b"]q%c(h%ch%ch%ch%ch%ch%ch%ch%ch%ch%ce" % ((n,) + (n - 1,) * 10) for n in range(1, 30)))),
    "tuples without an end": lambda: _zip(_opcodes(b"N" + b"\x85" * 1_000_000)),
    "no end": lambda: _zip(b"\x80\x02}q\0"),
    "rubbish": lambda: _zip(b"\x80\x02\xff\xfe\xfd"),
    "protocol 255": lambda: _zip(b"\x80\xff."),
    "a storage that is missing": lambda: _torch_saved(b"\0"),
    "a bomb": _zip_bomb,
    "names upwards": lambda: _zip(b"\x80\x02}.", "../../outside/evil.pkl"),
    "no pickle": lambda: _zip(b"x", "archive/other"),
    "cut": lambda: _zip(b"\x80\x02}.")[:-30],
    "a list of nothing": lambda: _zip(b"\x80\x02]."),
    "a number": lambda: _zip(b"\x80\x02K\x05."),
    "an empty table": lambda: _zip(b"\x80\x02}."),
    "a tar of the oldest form": lambda: b"".join([b"pickle".ljust(100, b"\0"), bytes(412)]),
}  # fmt: skip


def _torch_saved(data: bytes) -> bytes:
    """A tensor's pickle whose storage is not in the file."""
    rebuild = b"ctorch._utils\n_rebuild_tensor_v2\n"
    storage = b"(X\x07\0\0\0storagectorch\nFloatStorage\nX\x01\0\0\x000X\x03\0\0\0cpuJ\0\0\0\x40tQ"
    return _zip(
        _opcodes(b"}X\x01\0\0\0a" + rebuild + b"(" + storage + b"K\0(J\0\0\0\x40t(K\x01t\x89}tRs"), other=data
    )


def _file(name: str, content: bytes | Callable[[], bytes]) -> Callable[[Box], list[str]]:
    return lambda box: box.base(box.put(name, content() if callable(content) else content))


def cases() -> Iterator[Hostile]:
    """All cases of weights in one file; each is looked at by the check, as before every run."""
    for title, content in SAFETENSORS.items():
        yield Hostile(f"base: {title}", _file("m.safetensors", content))
    for at, (title, made) in enumerate(PICKLES.items()):
        yield Hostile(f"pickle: {title}", _file("m.safetensors" if at % 5 == 4 else "m.ckpt", made))
