"""Hostile captions, caption tables and tar shards, through the dataset doctor."""

from __future__ import annotations

import io
import json
import os
import pickle
import struct
import tarfile
from collections.abc import Callable, Iterator
from functools import partial

from tests.hostile.case import EITHER, ESCAPE, Box, Hostile, png

DEEP = 100_000
ROW = {"file_name": "p0.png", "text": "a square"}

CAPTIONS: dict[str, bytes] = {
    "NULs": b"a\0b\0c" * 100,
    "NULs alone": bytes(1000),
    "half UTF-16": "a caption".encode("utf-16")[:-1],
    "UTF-16 without mark": "a caption of a cat".encode("utf-16-be"),
    "UTF-32 of impossible letters": b"\xff\xfe\0\0" + b"\xff\xff\xff\x7f" * 20,
    "UTF-7": b"+AGEALgBwAG4AZw-",
    "overlong UTF-8": b"\xc0\xaf\xe0\x80\xaf" * 10,
    "surrogates in UTF-8": b"\xed\xa0\x80\xed\xbf\xbf a cat",
    "escapes": ESCAPE.encode(),
    "a word of 60,000 letters": b"x" * 60_000,
    "a megabyte of emoji": "\U0001f408".encode() * 250_000,
    "5 MB of words": b"a cat, " * 700_000,
    "20,000 commas": b"," * 20_000,
    "20,000 lines": b"a cat\n" * 20_000,
    "turned text": "a cat \u202e tac a".encode() * 10,
    "letters with 2,000 marks each": ("a" + "\u0301" * 2000).encode() * 20,
    "a picture": png(),
    "a pickle": pickle.dumps({"a": print}),
    "markup": b"[bold red on white blink]a cat[/][link=file:///etc/passwd]x[/link]",
    "format signs": b"%s %n {0.__class__.__init__.__globals__} ${HOME} `id` $(id)",
    "a sentence of another program": b"<lora:../../etc/passwd:1> (((a cat:1e999)))",
    "carriage returns": b"a cat\ra dog\r",
    "form feeds": b"a\x0bcat\x0c\x1c\x1d\x1e\x85",
}  # fmt: skip


def _lines(*rows: object) -> bytes:
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


TABLES: dict[str, tuple[str, bytes]] = {
    "a row deeper than Python's stack": ("metadata.jsonl", b'{"file_name": ' + b"[" * DEEP + b"\n"),
    "a row of numbers": ("metadata.jsonl", b"1\n2\nnull\n[]\n"),
    "a row of 3 MB": ("metadata.jsonl", _lines({**ROW, "text": "a" * 3_000_000})),
    "a row of 5,000 digits": ("metadata.jsonl", b'{"file_name": "p0.png", "text": ' + b"9" * 5000 + b"}\n"),
    "rows cut": ("metadata.jsonl", _lines(ROW, ROW)[:-20]),
    "a row of NaN": ("metadata.jsonl", b'{"file_name": NaN, "text": Infinity}\n'),
    "a name twice in a row": ("metadata.jsonl", b'{"file_name": "p0.png", "file_name": "p1.png", "text": "x"}\n'),
    "the same row twice": ("metadata.jsonl", _lines(ROW, {**ROW, "text": "another"})),
    "a file that is a list": ("metadata.jsonl", _lines({"file_name": ["p0.png"], "text": "x"})),
    "a text that is a table": ("metadata.jsonl", _lines({"file_name": "p0.png", "text": {"a": 1}})),
    "a text that is a number": ("metadata.jsonl", _lines({"file_name": "p0.png", "text": 5})),
    "a file upwards": ("metadata.jsonl", _lines({"file_name": "../../outside/kept.txt", "text": "x"})),
    "a file at the root": ("metadata.jsonl", _lines({"file_name": "/etc/passwd", "text": "x"})),
    "a file with a NUL": ("metadata.jsonl", _lines({"file_name": "p0.png\0.txt", "text": "x"})),
    "a file with a surrogate": ("metadata.jsonl", b'{"file_name": "\\ud800.png", "text": "x"}\n'),
    "a text with a surrogate": ("metadata.jsonl", b'{"file_name": "p0.png", "text": "a \\ud800 cat"}\n'),
    "a file of 100,000 letters": ("metadata.jsonl", _lines({"file_name": "a" * 100_000, "text": "x"})),
    "a file of escapes": ("metadata.jsonl", _lines({"file_name": ESCAPE, "text": ESCAPE})),
    "a condition upwards": ("metadata.jsonl", _lines({**ROW, "conditioning_image": "../../../etc/passwd"})),
    "a column of escapes": ("metadata.jsonl", _lines({**ROW, ESCAPE: 1})),
    "20,000 rows for nothing": ("metadata.jsonl", _lines(*({"file_name": f"{n}.png", "text": "x"} for n in range(20_000)))),
    "NULs for rows": ("metadata.jsonl", bytes(5000)),
    "a JSON deeper than Python's stack": ("metadata.json", b"[" * DEEP),
    "a JSON of one number": ("metadata.json", b"5"),
    "a JSON of 5,000 digits": ("metadata.json", b"9" * 5000),
    "a JSON of nothing": ("metadata.json", b""),
    "a JSON of kohya with odd rows": ("meta_cap.json", b'{"p0": 5, "p1": {"caption": ["x"], "tags": {"a": 1}}}'),
    "a JSON of kohya upwards": ("meta_lat.json", b'{"../../outside/kept": {"caption": "x", "train_resolution": [1e400, "x"]}}'),
    "a JSON in UTF-16": ("metadata.json", json.dumps([ROW]).encode("utf-16")),
    "a JSON of rubbish": ("metadata.json", b"\xff\xfe\xfd" * 500),
    "a CSV of rubbish": ("metadata.csv", b"\xff\x80\x81" * 500),
    "a CSV with NULs": ("metadata.csv", b"file_name,text\np0.png,a\0b\n"),
    "a CSV with a field of 3 MB": ("metadata.csv", b"file_name,text\np0.png," + b"a" * 3_000_000 + b"\n"),
    "a CSV with a quote that never ends": ("metadata.csv", b'file_name,text\np0.png,"a\n' + b"b\n" * 100_000),
    "a CSV with 50,000 columns": ("metadata.csv", b",".join(b"c%d" % n for n in range(50_000)) + b"\np0.png\n"),
    "a CSV of one column": ("metadata.csv", b"file_name\np0.png\n"),
    "a CSV without a head": ("metadata.csv", b"p0.png,a square\n"),
    "a CSV whose head comes twice": ("metadata.csv", b"file_name,file_name,text\np0.png,p1.png,x\n"),
    "a CSV with too many cells": ("metadata.csv", b"file_name,text\np0.png,a,b,c,d\n"),
    "a CSV of formulas": ("metadata.csv", b"file_name,text\np0.png,=cmd|' /C calc'!A0\n"),
    "a CSV of nothing": ("metadata.csv", b""),
    "a TSV of escapes": ("metadata.tsv", f"file_name\ttext\np0.png\t{ESCAPE}\n".encode()),
    "a parquet file": ("metadata.parquet", b"PAR1" + bytes(100) + b"PAR1"),
    "a parquet file that says it is huge": ("train.parquet", b"PAR1" + struct.pack("<I", 2**31) + b"PAR1"),
    "an arrow file": ("data-00000-of-00001.arrow", b"\xff\xff\xff\xff" + bytes(100)),
    "a script for loading": ("pictures.py", b"open('ran', 'w')\n"),
    "settings of a dataset": ("dataset_infos.json", b'{"a": ' + b"[" * DEEP),
    "a JSON caption deeper than Python's stack": ("p0.json", b"[" * DEEP),
    "a JSON caption of odd kinds": ("p0.json", b'{"caption": {"a": [1]}, "prompt": 5, "tags": {"x": null}}'),
    "a JSON caption of 5,000 digits": ("p0.json", b'{"caption": ' + b"9" * 5000 + b"}"),
}  # fmt: skip


def _caption(content: bytes) -> Callable[[Box], list[str]]:
    def make(box: Box) -> list[str]:
        folder = box.pictures()
        (folder / "p0.txt").write_bytes(content)
        return ["data", str(folder), "--resolution", "64", "--trigger", "zork"]

    return make


def _table(name: str, content: bytes) -> Callable[[Box], list[str]]:
    def make(box: Box) -> list[str]:
        folder = box.pictures()
        (folder / "p0.txt").unlink()
        (folder / name).write_bytes(content)
        return ["data", str(folder), "--resolution", "64", *(["--json"] if len(name) % 2 else [])]

    return make


def _member(name: str, content: bytes = b"", **fields: object) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    for key, value in fields.items():
        setattr(info, key, value)
    return info, content


def _tar(*members: tuple[tarfile.TarInfo, bytes], kind: int = tarfile.PAX_FORMAT) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=kind) as tar:
        tar.addfile(*_plain(_member("ok.png", png())))
        tar.addfile(*_plain(_member("ok.txt", b"a square")))
        for member in members:
            tar.addfile(*_plain(member))
    return out.getvalue()


def _plain(member: tuple[tarfile.TarInfo, bytes]) -> tuple[tarfile.TarInfo, io.BytesIO]:
    return member[0], io.BytesIO(member[1])


def _poked(at: int, content: bytes, whole: bytes | None = None) -> bytes:
    """A tar with other bytes at one place, and the first member's checksum made right again."""
    raw = bytearray(_tar() if whole is None else whole)
    raw[at : at + len(content)] = content
    raw[148:156] = b" " * 8
    raw[148:156] = b"%06o\0 " % sum(raw[:512])
    return bytes(raw)


SHARDS: dict[str, Callable[[], bytes]] = {
    "names upwards": lambda: _tar(_member("../../outside/evil.png", png()), _member("../../evil.txt", b"x")),
    "names at the root": lambda: _tar(_member("/etc/evil.png", png()), _member("/etc/evil.txt", b"x")),
    "names of escapes": lambda: _tar(_member(f"{ESCAPE}.png", png()), _member(f"{ESCAPE}.txt", ESCAPE.encode())),
    "names that are no UTF-8": lambda: _tar(_member(os.fsdecode(b"caf\xe9.png"), png())),
    "a name with a NUL": lambda: _poked(3, b"\0\0"),
    "a name of 50,000 letters": lambda: _tar(_member("a" * 50_000 + ".png", png())),
    "a link upwards": lambda: _tar(_member("a.png", type=tarfile.SYMTYPE, linkname="../../outside/kept.txt")),
    "a link to a file of the machine": lambda: _tar(_member("a.png", type=tarfile.SYMTYPE, linkname="/etc/passwd")),
    "a hard link": lambda: _tar(_member("a.png", type=tarfile.LNKTYPE, linkname="ok.png")),
    "a hard link to itself": lambda: _tar(_member("a.png", type=tarfile.LNKTYPE, linkname="a.png")),
    "a device": lambda: _tar(_member("a.png", type=tarfile.CHRTYPE, devmajor=1, devminor=5)),
    "a pipe": lambda: _tar(_member("a.png", type=tarfile.FIFOTYPE)),
    "a folder named as a picture": lambda: _tar(_member("a.png", type=tarfile.DIRTYPE)),
    "an unknown kind": lambda: _tar(_member("a.png", type=b"Z")),
    "a sparse member": lambda: _tar(_member("a.png", type=tarfile.GNUTYPE_SPARSE)),
    "the same name twice": lambda: _tar(_member("ok.png", png(32)), _member("ok.txt", b"another")),
    "a cut picture": lambda: _tar(_member("a.png", png()))[:2300],
    "a cut head": lambda: _tar()[:700],
    "no end": lambda: _tar()[:-10_000],
    "nothing": lambda: b"",
    "NULs": lambda: bytes(10_240),
    "rubbish": lambda: b"\xa5\x5a\x13" * 5000,
    "a wrong checksum": lambda: b"x" + _tar()[1:],
    "a size of 8 GB": lambda: _poked(124, b"77777777777\0"),
    "a size of letters": lambda: _poked(124, b"hello world\0"),
    "a size below zero": lambda: _poked(124, b"\xff" * 12),
    "a size of 2 ** 90": lambda: _poked(124, b"\x80\x7f" + b"\xff" * 10),
    "a time below zero": lambda: _poked(136, b"\xff" * 12),
    "GNU long names": lambda: _tar(_member("d/" * 200 + "a.png", png()), kind=tarfile.GNU_FORMAT),
    "a long name that never comes": lambda: _poked(156, b"L"),
    "extended heads of rubbish": lambda: _tar(_member("x", b"rubbish without length\n", type=b"x")),
    "extended heads with a huge length": lambda: _tar(_member("x", b"99999999999 path=a.png\n", type=b"x")),
    "extended heads with a size of a text": lambda: _tar(_member("x", b"14 size=abcd\n", type=b"x"), _member("a.png", png())),
    "extended heads with a path upwards": lambda: _tar(_member("x", b"22 path=../../../e.png\n", type=b"x"), _member("a.png", png())),
    "extended heads of 30 MB": lambda: _tar(_member("x", b"a" * 30_000_000, type=b"x")),
    "global heads": lambda: _tar(_member("x", b"18 path=evil.png\n\n", type=b"g"), _member("a.png", png())),
    "a caption of 20 MB": lambda: _tar(_member("a.png", png()), _member("a.txt", b"x" * 20_000_000)),
    "a JSON deeper than Python's stack": lambda: _tar(_member("a.png", png()), _member("a.json", b"[" * DEEP)),
    "a pickle": lambda: _tar(_member("a.png", png()), _member("a.pkl", pickle.dumps(print)), _member("a.pyd", b"x")),
    "a picture that is none": lambda: _tar(_member("a.png", b"<html>"), _member("a.txt", b"x")),
    "3,000 members": lambda: _tar(*(_member(f"{n}.cls", b"1") for n in range(3000))),
    "a tar in a tar": lambda: _tar(_member("a.tar", _tar())),
    "a zip called tar": lambda: b"PK\x03\x04" + bytes(1000),
    "a packed tar called tar": lambda: b"\x1f\x8b\x08" + bytes(1000),
}  # fmt: skip


def _shard(content: Callable[[], bytes]) -> Callable[[Box], list[str]]:
    def make(box: Box) -> list[str]:
        return ["data", str(box.put("shards/0.tar", content())), "--resolution", "64", "--deep"]

    return make


PATTERNS = (
    "s/{0..999999999}.tar",
    "s/{a,b}{c,d}{0..99999}.tar",
    "s/{0..-1}.tar",
    "{" * 5000,
    "s/{..}.tar",
    "{}.tar",
)


def cases() -> Iterator[Hostile]:
    """All cases of captions, tables and shards."""
    for title, content in CAPTIONS.items():
        yield Hostile(f"caption: {title}", _caption(content), EITHER)
    for title, (name, content) in TABLES.items():
        yield Hostile(f"table: {title}", _table(name, content), EITHER)
    for title, shard in SHARDS.items():
        yield Hostile(f"shard: {title}", _shard(shard), EITHER)
    for pattern in PATTERNS:
        yield Hostile(f"shards by {pattern[:30]}", partial(_by_pattern, pattern))


def _by_pattern(pattern: str, box: Box) -> list[str]:
    return ["data", str(box.input / pattern)]
