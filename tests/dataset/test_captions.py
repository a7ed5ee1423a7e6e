"""Captions: where they are looked for, how the trigger gets in, and what one draw sees."""

import json
from collections import Counter
from pathlib import Path

import pytest

from engine.dataset import captions
from engine.dataset.captions import CaptionSet, read_captions, with_trigger


def read(folder: Path, *pictures: str) -> CaptionSet:
    others = [str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()]
    return read_captions(folder, pictures, others)


def texts(found: CaptionSet) -> dict[str, str]:
    return {picture: caption.text for picture, caption in found.captions.items()}


def codes(found: CaptionSet) -> Counter[str]:
    return Counter(finding.code for finding in found.problems)


def test_a_text_beside_the_picture_is_its_caption(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("  a red fox\n")
    (tmp_path / "b.CAPTION").write_text("a blue fox")
    found = read(tmp_path, "a.png", "b.jpg", "c.png")
    assert texts(found) == {"a.png": "a red fox", "b.jpg": "a blue fox"}
    assert found.captions["a.png"].source == "a.txt"
    assert not found.problems


def test_several_lines_and_control_characters_become_one_clean_line(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("red fox,\r\n\tin \x1b[31m snow\x00\n\n")
    assert texts(read(tmp_path, "a.png")) == {"a.png": "red fox, in [31m snow"}


@pytest.mark.parametrize(
    ("raw", "text", "guessed"),
    [
        ("\ufeffcafé".encode(), "café", False),
        ("café".encode("utf-16"), "café", False),
        (b"caf\xe9", "café", True),
        ("猫の写真".encode(), "猫の写真", False),
    ],
)
def test_a_caption_is_decoded_and_a_guess_is_told(
    tmp_path: Path, raw: bytes, text: str, guessed: bool
) -> None:
    (tmp_path / "a.txt").write_bytes(raw)
    found = read(tmp_path, "a.png")
    assert texts(found) == {"a.png": text}
    assert (codes(found)["caption-encoding"] == 1) is guessed


def test_a_huge_text_is_not_taken_for_a_caption(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("x" * 70_000)
    found = read(tmp_path, "a.png")
    assert texts(found) == {"a.png": ""} and codes(found) == {"caption-unreadable": 1}


def test_metadata_tables_name_their_pictures_from_their_own_folder(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "metadata.csv").write_text('file_name,text\na.png,"a fox, red"\nsub/c.png,from above\n')
    rows = [{"file_name": "b.png", "prompt": "a hen"}, {"file_name": "./c.png", "text": "a cat"}]
    (tmp_path / "sub" / "metadata.jsonl").write_text("\n".join(json.dumps(row) for row in rows) + "\n\n")
    found = read(tmp_path, "a.png", "sub/b.png", "sub/c.png")
    assert texts(found) == {"a.png": "a fox, red", "sub/b.png": "a hen", "sub/c.png": "a cat"}
    assert codes(found) == {"two-captions": 1}


def test_every_bad_row_is_told_with_its_line_and_the_good_ones_are_kept(tmp_path: Path) -> None:
    lines = [
        '{"file_name": "a.png", "text": "good"}',
        "not json",
        '{"text": "no file"}',
        '{"file_name": "gone.png", "text": "x"}',
        '{"file_name": "../../etc/passwd.png", "text": "x"}',
        '{"file_name": "/etc/b.png", "text": "x"}',
        '{"file_name": "b.png"}',
        '{"file_name": "a.png", "text": "again"}',
        "[" * 100_000,
        "5",
    ]
    (tmp_path / "metadata.jsonl").write_text("\n".join(lines))
    found = read(tmp_path, "a.png", "b.png")
    assert texts(found) == {"a.png": "good"}
    assert codes(found) == {"bad-row": 6, "row-without-file": 1, "row-outside": 2, "picture-without-row": 1}
    assert any("line 2 " in finding.what for finding in found.problems)
    assert all(finding.what and finding.why and finding.fix for finding in found.problems)


def test_thousands_of_bad_rows_do_not_make_thousands_of_findings(tmp_path: Path) -> None:
    (tmp_path / "metadata.jsonl").write_text('{"file_name": "gone.png", "text": "x"}\n' * 5000)
    found = read(tmp_path, "a.png")
    assert codes(found) == {"row-without-file": 100, "more-rows": 1, "picture-without-row": 1}
    assert any("4900 more" in finding.what for finding in found.problems)


def test_a_table_that_is_not_text_is_told(tmp_path: Path) -> None:
    (tmp_path / "metadata.jsonl").write_bytes(b"\xff\xfe\x00\x80" * 9)
    (tmp_path / "metadata.csv").write_bytes(b"file_name,text\na.png,\x80\xff\n")
    assert codes(read(tmp_path, "a.png"))["metadata-unreadable"] == 2


def test_of_two_sources_the_text_file_counts_and_the_other_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("from text")
    (tmp_path / "a.caption").write_text("from caption")
    (tmp_path / "b.txt").write_text("the same")
    (tmp_path / "metadata.jsonl").write_text('{"file_name": "b.png", "text": "the same"}')
    found = read(tmp_path, "a.png", "b.png")
    assert texts(found) == {"a.png": "from text", "b.png": "the same"}
    assert {finding.file: finding.level for finding in found.problems} == {
        "a.png": "warning",
        "b.png": "info",
    }


def test_a_caption_without_a_picture_is_told_but_a_readme_is_not(tmp_path: Path) -> None:
    (tmp_path / "cat2.txt").write_text("a cat")
    (tmp_path / "README.txt").write_text("hello")
    assert codes(read(tmp_path, "cat.png")) == {"caption-without-picture": 1}


def test_the_trigger_is_put_in_where_it_is_missing() -> None:
    assert with_trigger("", "sks") == "sks"
    assert with_trigger("a cat", "sks") == "sks, a cat"
    assert with_trigger("a photo of SKS cat", "sks") == "a photo of SKS cat"
    assert with_trigger("asks a cat", "sks") == "sks, asks a cat"
    assert with_trigger("a photo of [trigger]", "sks dog") == "a photo of sks dog"
    assert with_trigger("a cat", "") == "a cat"
    assert with_trigger("a cat", "sks", "keep") == "a cat"
    assert with_trigger("[trigger] cat", "sks", "keep") == "sks cat"


def test_the_placeholder_is_never_trained_literally() -> None:
    assert with_trigger("[trigger], a cat", "") == "a cat"
    assert with_trigger("red, [trigger], cat", "") == "red, cat"
    assert with_trigger("[trigger]", "") == ""


def test_the_token_estimate_counts_what_clip_would_split() -> None:
    assert captions.approximate_tokens("a photo of a cat") == 5
    assert captions.approximate_tokens("1girl, solo") == 4
    assert captions.approximate_tokens("1999") == 4
    assert captions.approximate_tokens("antidisestablishmentarianism") == 4
    assert captions.approximate_tokens("猫の写真") == 4
    assert captions.approximate_tokens("") == 0
