"""The tar reader finds what Python's own writer wrote, and says where a torn or foreign file stops."""

from __future__ import annotations

import io
import os
import subprocess
import tarfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.dataset.tar import Member, TarDamage, members
from tests.support.shards import write_shard

FORMATS = {"ustar": tarfile.USTAR_FORMAT, "gnu": tarfile.GNU_FORMAT, "pax": tarfile.PAX_FORMAT}


def read(path: Path) -> list[Member]:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        return list(members(descriptor, path.stat().st_size))
    finally:
        os.close(descriptor)


def contents(path: Path) -> dict[str, bytes]:
    raw = path.read_bytes()
    return {member.name: raw[member.offset : member.offset + member.size] for member in read(path)}


@pytest.mark.parametrize("form", FORMATS)
def test_names_and_bytes_are_those_that_were_written(form: str, tmp_path: Path) -> None:
    files: dict[str, bytes | str] = {
        "a.txt": b"",
        "b.txt": b"x" * 511,
        "folder/c.bin": bytes(range(256)) * 2,
        "é/ü 日本.txt": b"y" * 513,
        "d" * 80 + "/" + "e" * 90 + ".txt": b"long",
    }
    if form != "ustar":
        files["f" * 300 + "/" + "g" * 200 + ".txt"] = b"very long"
    assert contents(write_shard(tmp_path / "a.tar", files, FORMATS[form])) == files


def test_everything_that_is_no_file_is_told_as_what_it_is(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        for name, kind in (
            ("folder", tarfile.DIRTYPE),
            ("soft", tarfile.SYMTYPE),
            ("hard", tarfile.LNKTYPE),
            ("disk", tarfile.BLKTYPE),
            ("pipe", tarfile.FIFOTYPE),
        ):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, "/etc/passwd"
            tar.addfile(info)
        info = tarfile.TarInfo("last.txt")
        info.size = 4
        tar.addfile(info, io.BytesIO(b"last"))
    found = {member.name.rstrip("/"): member.kind for member in read(tmp_path / "a.tar")}
    expected = {"folder": "folder", "soft": "link", "hard": "link", "disk": "device", "pipe": "device"}
    assert found == {**expected, "last.txt": "file"}


@pytest.mark.parametrize("form", ["gnu", "pax"])
def test_a_sparse_file_is_told_and_what_follows_it_is_found(form: str, tmp_path: Path) -> None:
    with (tmp_path / "holes.bin").open("wb") as file:
        for place in range(1, 60, 2):
            file.seek(place * 65536)
            file.write(b"x" * 4096)
    (tmp_path / "after.txt").write_text("after")
    command = ["tar", "--sparse", f"--format={form}", "-cf", "a.tar", "holes.bin", "after.txt"]
    subprocess.run(command, cwd=tmp_path, check=True)
    found = read(tmp_path / "a.tar")
    assert [member.kind for member in found] == ["sparse", "file"]
    assert contents(tmp_path / "a.tar")["after.txt"] == b"after"


def test_a_size_beyond_octal_and_a_size_in_pax_are_read(tmp_path: Path) -> None:
    big = 9 << 30
    for form in (tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        info = tarfile.TarInfo("big.bin")
        info.size = big
        path = tmp_path / f"{form}.tar"
        with path.open("wb") as file:
            file.write(info.tobuf(form))
            file.seek(big, os.SEEK_CUR)
            file.write(bytes(1024))
        (member,) = read(path)
        assert (member.name, member.size) == ("big.bin", big)


def test_every_cut_is_damage_and_keeps_the_members_before_it(tmp_path: Path) -> None:
    whole = write_shard(tmp_path / "a.tar", {"a.txt": b"a" * 700, "b.txt": b"b" * 700}).read_bytes()
    cut = tmp_path / "cut.tar"
    for length in [*range(0, 3072, 100), 1211, 1212, 1536, 2048, 2747, 2748, 2749, 3071]:
        cut.write_bytes(whole[:length])
        found: list[str] = []
        with pytest.raises(TarDamage) as told, cut.open("rb") as file:
            for member in members(file.fileno(), length):
                found.append(member.name)
        assert told.value.at <= length
        assert found == [name for name, end in (("a.txt", 1212), ("b.txt", 2748)) if length >= end]


@settings(max_examples=200, deadline=None)
@given(at=st.integers(0, 2047), value=st.integers(0, 255))
def test_a_changed_byte_gives_members_inside_the_file_or_damage(
    at: int, value: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / "changed.tar"
    raw = bytearray(write_shard(path, {"a.txt": b"a" * 10, "b.txt": b"b" * 10}).read_bytes())
    raw[at] = value
    path.write_bytes(raw)
    try:
        found = read(path)
    except TarDamage:
        return
    assert all(0 <= member.offset <= member.offset + member.size <= len(raw) for member in found)


@settings(max_examples=200, deadline=None)
@given(record=st.binary(max_size=60))
def test_any_pax_header_is_read_or_is_damage(record: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.getbasetemp() / "pax.tar"
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as tar:
        header = tarfile.TarInfo("header")
        header.type, header.size = tarfile.XHDTYPE, len(record)
        tar.addfile(header, io.BytesIO(record))
        plain = tarfile.TarInfo("a.txt")
        plain.size = 3
        tar.addfile(plain, io.BytesIO(b"abc"))
    try:
        found = read(path)
    except TarDamage:
        return
    size = path.stat().st_size
    assert all(member.offset + member.size <= size for member in found)
