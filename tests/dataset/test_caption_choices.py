"""Of what a caption is made: several captions, templates, class word, prefix and suffix, a folder of captions."""

import json
from pathlib import Path

import pytest

from engine.dataset.caption_rules import TEMPLATES, CaptionRules
from engine.dataset.report import DatasetReport, Item
from engine.dataset.scan import scan
from tests.support.pictures import write_pictures
from tests.support.shards import write_shard


def pictures(folder: Path, texts: dict[str, str], count: int = 2) -> Path:
    """Pictures without captions, and files with these texts."""
    write_pictures(folder, count=count)
    for file in folder.iterdir():
        if file.suffix != ".png":
            file.unlink()
    for number, file in enumerate(sorted(folder.glob("*.png"))):
        file.rename(folder / f"{'abcdef'[number]}.png")
    for name, text in texts.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    return folder


def look(pictures: Path, trigger: str = "", **rules: object) -> DatasetReport:
    return scan(pictures, resolution=64, trigger=trigger, rules=CaptionRules(**rules))  # type: ignore[arg-type]


def drawn(item: Item) -> dict[str, float]:
    return dict(item.choices or ((item.caption, 1.0),))


def codes(report: DatasetReport) -> set[str]:
    return {finding.code for finding in report.problems}


FILES = {
    "a.txt": "a red fox\n\nfox, red\r\n",
    "a.caption": "an animal",
    "a.json": json.dumps({"caption": "a fox", "captions": ["a fox", {"text": "the fox", "weight": 3}]}),
    "b.txt": "a hen",
}


@pytest.mark.parametrize(
    ("several", "weights", "expected"),
    [
        ("one", (), {"a red fox fox, red": 1}),
        ("lines", (), {"a red fox": 1, "fox, red": 1}),
        ("lines", (3.0, 1.0), {"a red fox": 3, "fox, red": 1}),
        ("lines", (0.0, 1.0), {"fox, red": 1}),
        ("files", (), {"a red fox fox, red": 1, "an animal": 1, "a fox": 1}),
        ("files", (2.0,), {"a red fox fox, red": 2, "an animal": 1, "a fox": 1}),
        ("all", (), {"a red fox": 1, "fox, red": 1, "an animal": 1, "a fox": 1, "the fox": 3}),
    ],
)
def test_which_captions_of_a_picture_are_drawn_and_how_often(
    several: str, weights: tuple[float, ...], expected: dict[str, float], tmp_path: Path
) -> None:
    report = look(pictures(tmp_path / "p", FILES), several=several, weights=weights)
    first, second = report.items
    assert drawn(first) == expected
    assert drawn(second) == {"a hen": 1} and not second.choices
    assert report.counts.several_captions == (len(expected) > 1)
    assert ("two-captions" in codes(report)) is (several in ("one", "lines"))
    assert first.caption == next(iter(expected))


def test_lines_of_tables_and_shards_count_too(tmp_path: Path, home: Path) -> None:
    folder = pictures(
        tmp_path / "p", {"metadata.jsonl": json.dumps({"file_name": "a.png", "text": "one\ntwo"})}
    )
    assert drawn(look(folder, several="lines").items[0]) == {"one": 1, "two": 1}
    assert look(folder).items[0].caption == "one two"
    shards = tmp_path / "shards"
    shards.mkdir()
    picture = (folder / "a.png").read_bytes()
    write_shard(
        shards / "0.tar", {"x.png": picture, "x.txt": b"one\ntwo", "y.png": picture, "y.txt": b"three"}
    )
    for _ in range(2):  # the second time from the index
        items = {Path(item.rel).stem: item for item in look(shards, several="lines").items}
        assert drawn(items["x"]) == {"one": 1, "two": 1} and drawn(items["y"]) == {"three": 1}
    assert [item.caption for item in look(shards).items] == ["one two", "three"]


def test_each_caption_gets_trigger_prefix_and_suffix(tmp_path: Path) -> None:
    folder = pictures(tmp_path / "p", {"a.txt": "a photo of [trigger]\nin snow"})
    report = look(folder, "sks", several="lines", prefix="best,", suffix=", 4k")
    assert drawn(report.items[0]) == {"best, a photo of sks, 4k": 1, "best, sks, in snow, 4k": 1}
    assert report.items[1].caption == "best, sks, 4k"
    own = look(folder, "sks", prefix="photo of sks")
    assert [item.caption for item in own.items] == ["photo of sks a photo of sks in snow", "photo of sks"]


def test_templates_are_for_pictures_without_a_caption_or_with_a_place_for_one(tmp_path: Path) -> None:
    folder = pictures(tmp_path / "p", {"a.txt": "in snow"})
    templates = ("a photo of {}", "{caption}, by {}", "a drawing of {}")
    captioned, bare = look(folder, "<sks>", templates=templates, class_word="dog").items
    assert drawn(captioned) == {"in snow, by <sks> dog": 1}
    assert drawn(bare) == {"a photo of <sks> dog": 1, "a drawing of <sks> dog": 1}
    plain, bare = look(folder, "<sks>", templates=("a photo of {}",)).items
    assert (plain.caption, bare.caption) == ("<sks>, in snow", "a photo of <sks>") and not bare.choices
    named = look(folder, "<sks>", templates=("style",)).items[1]
    assert list(drawn(named)) == [text.replace("{}", "<sks>") for text in TEMPLATES["style"]]
    assert look(folder, "", templates=("subject",)).items[1].caption == ""
    assert look(folder, "<sks>", class_word="dog").items[1].caption == "<sks> dog"


def test_what_is_shown_of_a_caption_has_no_marks(tmp_path: Path) -> None:
    folder = pictures(tmp_path / "p", {"a.txt": "{fox|hen} ||| red;;;blue"})
    item = look(folder, wildcards=True, keep_separator="|||", secondary_separator=";;;").items[0]
    assert item.caption == "fox, red, blue" and drawn(item) == {"{fox|hen} ||| red;;;blue": 1}


def test_captions_in_a_folder_of_their_own_come_first(tmp_path: Path) -> None:
    folder = pictures(tmp_path / "p", {"a.txt": "beside", "b.txt": "beside"}, count=3)
    own = tmp_path / "captions"
    (own / "sub").mkdir(parents=True)
    (own / "a.txt").write_text("made")
    (own / "c.json").write_text('{"caption": "found in json"}')
    (own / "gone.txt").write_text("of nobody")
    report = look(folder, folder=str(own))
    assert [item.caption for item in report.items] == ["made", "beside", "found in json"]
    assert "caption-without-picture" in codes(report) and "two-captions" not in codes(report)
    both = look(folder, folder=str(own), several="files").items[0]
    assert drawn(both) == {"made": 1, "beside": 1}
    missing = look(folder, folder=str(tmp_path / "nowhere"))
    assert [finding.code for finding in missing.errors] == ["captions-folder"]
    assert "captions-folder" in codes(look(folder, folder=str(own / "sub")))


def test_the_longest_of_several_captions_is_counted(tmp_path: Path) -> None:
    long = " ".join(["word"] * 90)
    folder = pictures(tmp_path / "p", {"a.txt": f"short\n{long}"})
    (found,) = (each for each in look(folder, several="lines").problems if each.code == "caption-long")
    assert "about 90 tokens, of which 75" in found.what
    assert "caption-long" not in codes(look(folder, several="lines", max_tokens=150))


def test_an_empty_file_says_that_there_is_no_caption(tmp_path: Path) -> None:
    folder = pictures(tmp_path / "p", {"a.txt": "", "a.caption": "a fox", "b.txt": "beside"})
    own = tmp_path / "captions"
    own.mkdir()
    (own / "b.txt").write_text("\n")
    assert [item.caption for item in look(folder, "sks", folder=str(own)).items] == ["sks", "sks"]
    assert look(folder, "sks", several="files").items[0].caption == "sks, a fox"
