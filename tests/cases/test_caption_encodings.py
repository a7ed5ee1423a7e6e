"""Captions and tables in UTF-16 and UTF-32, with and without a byte order mark, and with NUL bytes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from engine.dataset.encodings import decode
from tests.cases.looking import captions, codes, found, look, picture, pictures
from tests.cli.conftest import Cli

TEXTS = (
    "a red cat",
    "café au lait, 1girl",
    "猫の写真です",
    "привет, мир",
    "고양이 사진",
    "ένα γάτα",
    "שלום עולם",
    "a cat 🐱",
)
BARE = ("utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be")
MARKED = ("utf-16", "utf-32", "utf-8-sig")


@pytest.mark.parametrize("encoding", [*BARE, *MARKED, "utf-8"])
@pytest.mark.parametrize("text", TEXTS)
def test_a_caption_is_read_in_every_encoding(tmp_path: Path, encoding: str, text: str) -> None:
    picture(tmp_path / "a.png")
    (tmp_path / "a.txt").write_bytes(f"{text}\r\n".encode(encoding))
    report = look(tmp_path)
    assert captions(report) == {"a.png": text}
    assert codes(report) == ({"caption-encoding"} if encoding in BARE else set())


@pytest.mark.parametrize("encoding", [*BARE, *MARKED])
@pytest.mark.parametrize("name", ["metadata.jsonl", "metadata.csv", "metadata.json"])
def test_a_table_is_read_in_every_encoding(tmp_path: Path, encoding: str, name: str) -> None:
    pictures(tmp_path)
    rows = [{"file_name": f"p{n}.png", "text": f"café {n}"} for n in range(2)]
    text = {
        "metadata.jsonl": "".join(json.dumps(row, ensure_ascii=False) + "\r\n" for row in rows),
        "metadata.csv": "file_name,text\r\np0.png,café 0\r\np1.png,café 1\r\n",
        "metadata.json": json.dumps(rows, ensure_ascii=False),
    }[name]
    (tmp_path / name).write_bytes(text.encode(encoding))
    report = look(tmp_path)
    assert captions(report) == {"p0.png": "café 0", "p1.png": "café 1"}
    assert codes(report) == ({"caption-encoding"} if encoding in BARE else set())


@pytest.mark.parametrize(
    ("raw", "text", "told"),
    [
        (b"a red cat\x00", "a red cat", False),
        (b"a red cat" + bytes(64), "a red cat", False),
        (b"a red\x00cat", "a red cat", True),
        (b"caf\xe9\x00 au lait", "café au lait", True),
        (bytes(16), "", False),
        ("a red cat".encode("utf-16-le") + b"\n", "a red cat", True),
        ("a red cat\x00".encode("utf-16-be"), "a red cat", True),
        ("a red cat".encode("utf-16") + b"\x00", "a red cat", False),
    ],
)
def test_nul_bytes_never_part_letters(tmp_path: Path, raw: bytes, text: str, told: bool) -> None:
    picture(tmp_path / "a.png")
    (tmp_path / "a.txt").write_bytes(raw)
    report = look(tmp_path)
    assert captions(report) == {"a.png": text}
    assert ("caption-encoding" in codes(report)) is told
    assert ("caption-empty" in codes(report) or "no-captions" in codes(report)) is (not text)


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (b"caf\xe9", "café"),
        ("“déjà vu” – naïve".encode("cp1252"), "“déjà vu” – naïve"),
        ("señor, año".encode("cp1252"), "señor, año"),
    ],
)
def test_western_texts_are_not_taken_for_wide_ones(raw: bytes, text: str) -> None:
    for padded in (raw, raw + b" "):
        decoded = decode(padded)
        assert decoded.text.strip() == text and decoded.guess == "Windows-1252"


@pytest.mark.parametrize("encoding", ["shift_jis", "gbk", "euc_kr", "big5"])
def test_an_older_encoding_is_at_least_named(tmp_path: Path, encoding: str) -> None:
    text = "고양이 사진입니다" if encoding == "euc_kr" else "一文字"
    picture(tmp_path / "a.png")
    (tmp_path / "a.txt").write_bytes(text.encode(encoding))
    assert found(look(tmp_path), "caption-encoding").fix == "save it as UTF-8"


def test_a_spreadsheets_table_in_windows_1252_is_read_and_named(tmp_path: Path) -> None:
    pictures(tmp_path)
    (tmp_path / "metadata.csv").write_bytes("file_name;text\np0.png;un café\np1.png;deux\n".encode("cp1252"))
    report = look(tmp_path)
    assert captions(report) == {"p0.png": "un café", "p1.png": "deux"}
    assert "Windows-1252" in found(report, "caption-encoding").what


def test_the_command_shows_no_letters_apart(cli: Cli, tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    (tmp_path / "a.txt").write_bytes("a red cat".encode("utf-16-le"))
    done = cli("data", str(tmp_path), "--resolution", "64", "--json")
    assert done.json["items"][0]["caption"] == "a red cat"
