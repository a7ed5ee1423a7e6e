"""Names in the composed and the decomposed Unicode form, as macOS and the others write them, are one name."""

from __future__ import annotations

import json
import unicodedata
from pathlib import Path
from typing import Literal

import pytest

from engine.dataset.captions import with_trigger
from engine.dataset.pairs import pair_up
from tests.cases.looking import captions, codes, look, picture
from tests.cli.conftest import Cli

Form = Literal["NFC", "NFD"]
FORMS: tuple[tuple[Form, Form], ...] = (("NFD", "NFC"), ("NFC", "NFD"))
BOTH: tuple[Form, ...] = ("NFC", "NFD")
WORDS = ("café", "Åse", "가방", "ガラス")


def form(kind: Form, text: str) -> str:
    return unicodedata.normalize(kind, text)


@pytest.mark.parametrize(("of_picture", "of_text"), FORMS)
@pytest.mark.parametrize("suffix", [".txt", ".caption", ".png.txt", ".json"])
def test_a_caption_file_goes_with_its_picture(
    tmp_path: Path, of_picture: Form, of_text: Form, suffix: str
) -> None:
    for word in WORDS:
        picture(tmp_path / form(of_picture, f"{word}.png"))
        text = json.dumps({"caption": f"a {word}"}) if suffix == ".json" else f"a {word}"
        (tmp_path / form(of_text, f"{word}{suffix}")).write_text(text)
    report = look(tmp_path)
    assert set(captions(report).values()) == {f"a {word}" for word in WORDS}
    assert not report.problems


@pytest.mark.parametrize(("of_picture", "of_text"), FORMS)
def test_a_row_of_a_table_finds_its_picture(tmp_path: Path, of_picture: Form, of_text: Form) -> None:
    picture(tmp_path / form(of_picture, "été") / form(of_picture, "café.png"))
    row = {"file_name": form(of_text, "été/café.png"), "text": form(of_text, "a café")}
    (tmp_path / "metadata.jsonl").write_text(json.dumps(row))
    report = look(tmp_path)
    assert list(captions(report).values()) == ["a café"] and not report.problems


@pytest.mark.parametrize(("of_picture", "of_text"), FORMS)
def test_a_condition_finds_its_picture(tmp_path: Path, of_picture: Form, of_text: Form) -> None:
    picture(tmp_path / "set" / form(of_picture, "café.png"))
    picture(tmp_path / "maps" / form(of_text, "café.png"))
    pairs = pair_up(look(tmp_path / "set"), str(tmp_path / "maps"))
    assert len(pairs.files) == 1 and not pairs.problems
    row = {"file_name": "café.png", "text": "x", "conditioning_image": form(of_picture, "màp/café.png")}
    picture(tmp_path / "set" / form(of_text, "màp") / form(of_text, "café.png"))
    (tmp_path / "set" / "metadata.jsonl").write_text(json.dumps(row))
    report = look(tmp_path / "set")
    named = pair_up(report, "")
    assert len(named.files) == 1 and all(Path(str(path)).is_file() for path in named.files.values())


@pytest.mark.parametrize(("of_caption", "of_trigger"), FORMS)
def test_a_trigger_is_found_in_a_caption(of_caption: Form, of_trigger: Form) -> None:
    caption = form(of_caption, "a photo of zoë")
    assert form("NFC", with_trigger(caption, form(of_trigger, "zoë"))) == "a photo of zoë"
    assert form("NFC", with_trigger("a photo of [trigger]", form(of_trigger, "zoë"))) == "a photo of zoë"
    assert with_trigger("a dog", form(of_trigger, "zoë")) == "zoë, a dog"


def test_a_picture_keeps_its_own_text_beside_one_that_is_alike(tmp_path: Path) -> None:
    for kind in BOTH:
        picture(tmp_path / form(kind, "café.png"))
        (tmp_path / form(kind, "café.txt")).write_text(kind)
    picture(tmp_path / "a.png")
    (tmp_path / "a.txt").write_text("small")
    picture(tmp_path / "A.png")
    (tmp_path / "A.txt").write_text("large")
    report = look(tmp_path)
    assert captions(report) == {
        form("NFC", "café.png"): "NFC",
        form("NFD", "café.png"): "NFD",
        "a.png": "small",
        "A.png": "large",
    }
    assert not report.problems


@pytest.mark.parametrize(
    ("shown", "text"),
    [("IMG_1.JPG", "img_1.txt"), ("cat.png", "CAT.TXT"), ("cat .png", "cat.txt"), ("cat.png ", "cat.txt")],
)
def test_case_and_trailing_spaces_make_no_other_name(tmp_path: Path, shown: str, text: str) -> None:
    picture(tmp_path / shown)
    (tmp_path / text).write_bytes(b"a cat\r\n")
    report = look(tmp_path)
    assert captions(report) == {shown: "a cat"} and not report.problems


def test_the_command_counts_the_caption(cli: Cli, tmp_path: Path) -> None:
    picture(tmp_path / form("NFD", "café.png"))
    (tmp_path / form("NFC", "café.txt")).write_text("a red square")
    done = cli("data", str(tmp_path), "--resolution", "64", "--json")
    assert done.code == 0 and done.json["counts"]["captioned"] == 1 and not done.json["problems"]


def test_a_text_without_a_picture_is_still_named(tmp_path: Path) -> None:
    picture(tmp_path / "cafe.png")
    (tmp_path / "café.txt").write_text("an accent is another letter")
    assert "caption-without-picture" in codes(look(tmp_path))
