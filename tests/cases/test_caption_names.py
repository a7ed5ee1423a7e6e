"""Caption files whose names hold the picture's whole name or two suffixes, and the hints about those not used."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cases.looking import captions, codes, found, look, picture, pictures
from tests.cli.conftest import Cli


@pytest.mark.parametrize(
    "ending", [".png.txt", ".PNG.TXT", ".png.caption", ".txt.txt", ".caption.txt", ".png.txt.txt", ".TXT"]
)
def test_a_doubled_suffix_is_read(tmp_path: Path, ending: str) -> None:
    pictures(tmp_path)
    for number in range(2):
        (tmp_path / f"p{number}{ending}").write_text(f"circle {number}")
    report = look(tmp_path)
    assert captions(report) == {"p0.png": "circle 0", "p1.png": "circle 1"} and not report.problems


@pytest.mark.parametrize("ending", [".json", ".png.json", ".JSON"])
@pytest.mark.parametrize("field", ["caption", "text"])
def test_a_json_beside_a_picture_is_read_where_there_is_no_other_caption(
    tmp_path: Path, ending: str, field: str
) -> None:
    pictures(tmp_path, 3)
    for number in range(3):
        (tmp_path / f"p{number}{ending}").write_text(json.dumps({field: f"circle {number}", "seed": 3}))
    (tmp_path / "p2.txt").write_text("from the text")
    (tmp_path / "settings.json").write_text("[1]")
    report = look(tmp_path)
    assert captions(report) == {"p0.png": "circle 0", "p1.png": "circle 1", "p2.png": "from the text"}
    assert not report.problems


def test_two_formats_of_one_name_have_texts_of_their_own(tmp_path: Path) -> None:
    for suffix in ("png", "bmp"):
        picture(tmp_path / f"a.{suffix}")
        (tmp_path / f"a.{suffix}.txt").write_text(suffix)
    assert captions(look(tmp_path)) == {"a.png": "png", "a.bmp": "bmp"}


def test_of_the_short_and_the_long_name_the_short_one_counts(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    (tmp_path / "a.txt").write_text("short")
    (tmp_path / "a.png.txt").write_text("long")
    report = look(tmp_path)
    assert captions(report) == {"a.png": "short"}
    assert found(report, "two-captions").fix == "keep one of them: a.txt or a.png.txt"


@pytest.mark.parametrize("name", ["torn.png", "phone.heic", "film.mp4"])
def test_the_text_of_a_picture_that_cannot_be_used_is_no_stray(tmp_path: Path, name: str) -> None:
    picture(tmp_path / "a.png")
    (tmp_path / "a.txt").write_text("a circle")
    (tmp_path / name).write_bytes(b"x")
    (tmp_path / f"{Path(name).stem}.txt").write_text("its caption")
    (tmp_path / "metadata.jsonl").write_text(json.dumps({"file_name": "torn.png", "text": "x"}))
    report = look(tmp_path)
    assert "caption-without-picture" not in codes(report)
    assert ("row-without-file" in codes(report)) is (name != "torn.png")


@pytest.mark.parametrize("name", ["dog.txt", "dog.png.txt", "dog.txt.txt"])
def test_the_hint_names_a_picture_that_would_go_with_the_text(cli: Cli, tmp_path: Path, name: str) -> None:
    pictures(tmp_path)
    (tmp_path / name).write_text("a dog")
    done = cli("data", str(tmp_path), "--resolution", "64", "--json")
    (fix,) = [row["fix"] for row in done.json["problems"] if row["code"] == "caption-without-picture"]
    assert "dog.png goes with it" in fix
