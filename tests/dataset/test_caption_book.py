"""Captions that are looked through and mended: what changes, what is written where, and what is left alone."""

from pathlib import Path

import pytest
from PIL import Image

from engine.dataset.caption_book import CaptionBook
from engine.dataset.caption_rules import CaptionRules
from engine.dataset.scan import scan
from engine.errors import UserError

TEXTS = {"a": "fox, red, snow", "b": "fox, red\na red fox", "sub/c": "", "d": "[trigger] in snow"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, text in TEXTS.items():
        file = tmp_path / "pictures" / f"{name}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (40, 40)).save(file)
        if text:
            file.with_suffix(".txt").write_text(text)
    return tmp_path / "pictures"


def test_only_what_was_changed_is_written_and_training_reads_it(folder: Path, tmp_path: Path) -> None:
    own = tmp_path / "captions"
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    book = CaptionBook.open(folder, own)
    assert [book.text(n) for n in range(4)] == [
        "fox, red, snow",
        "fox, red\na red fox",
        "[trigger] in snow",
        "",
    ]
    book.put(3, "  a hen,\r\n at night ")
    book.put(0, "fox, red, snow ")
    assert (book.changes, book.changed(0), book.changed(3)) == (1, False, True)
    assert book.save() == 1 and book.changes == 0 and book.save() == 0
    assert [path.relative_to(own).as_posix() for path in own.rglob("*.txt")] == ["sub/c.txt"]
    items = scan(folder, resolution=64, recursive=True, rules=CaptionRules(folder=str(own))).items
    assert items[3].caption == "a hen, at night" and items[0].caption == "fox, red, snow"
    assert CaptionBook.open(folder, own).text(3) == "a hen,\nat night"
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


def test_find_and_replace_tags_and_words_in_front(folder: Path, tmp_path: Path) -> None:
    book = CaptionBook.open(folder, tmp_path / "captions")
    assert book.tags(2) == [("fox", 2), ("red", 2)]
    assert book.replace("red", "blue") == 2 and book.text(1) == "fox, blue\na blue fox"
    assert book.replace("fox", "") == 2
    assert [book.text(0), book.text(1)] == ["blue, snow", "blue\na blue"]
    assert book.replace("", "x") == 0 and book.replace("nowhere", "x") == 0
    assert book.add("sks") == 3
    assert [book.text(n) for n in range(4)] == [
        "sks, blue, snow", "sks, blue\nsks, a blue", "[trigger] in snow", "sks",
    ]  # fmt: skip
    assert book.add("SKS") == 0


def test_captions_are_never_written_among_the_pictures(folder: Path) -> None:
    for place in (folder, folder / "sub" / "captions"):
        with pytest.raises(UserError, match="cannot be written into"):
            CaptionBook.open(folder, place)
    with pytest.raises(UserError):
        CaptionBook.open(folder / "nothing", folder.parent / "captions")
