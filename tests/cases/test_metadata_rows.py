"""Caption tables as spreadsheets, kohya's scripts and other machines write them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cases.looking import captions, codes, found, look, picture, pictures
from tests.cli.conftest import Cli

WANTED = {"p0.png": "a, red", "p1.png": "b"}


def table(folder: Path, names: list[str], column: str = "file_name", text: str = "text") -> None:
    rows = [{column: name, text: caption} for name, caption in zip(names, WANTED.values(), strict=True)]
    (folder / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.mark.parametrize(
    "root",
    [
        "{here}/",
        "{here}/../{name}/",
        "/home/other/{name}/",
        "/elsewhere/",
        "C:\\Users\\me\\set\\",
        "D:/set/",
        "\\\\nas\\set\\",
    ],
)
def test_absolute_names_are_resolved_against_the_folder(tmp_path: Path, root: str) -> None:
    folder = pictures(tmp_path / "set")
    start = root.format(here=folder, name=folder.name)
    table(folder, [f"{start}p0.png", f"{start}p1.png"])
    report = look(folder)
    assert captions(report) == WANTED and not report.problems


def test_absolute_names_through_a_link_and_into_subfolders(tmp_path: Path) -> None:
    folder = tmp_path / "set"
    picture(folder / "in" / "p0.png")
    picture(folder / "out" / "p0.png")
    (tmp_path / "link").symlink_to(folder)
    rows = [{"file_name": f"{tmp_path}/link/{sub}/p0.png", "text": sub} for sub in ("in", "out")]
    (folder / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)))
    assert captions(look(tmp_path / "link")) == {"in/p0.png": "in", "out/p0.png": "out"}
    moved = [{"file_name": f"/old/{sub}/p0.png", "text": sub} for sub in ("in", "out")]
    (folder / "metadata.jsonl").write_text("\n".join(map(json.dumps, moved)))
    assert captions(look(folder)) == {"in/p0.png": "in", "out/p0.png": "out"}


def test_a_name_that_is_truly_outside_is_refused_beside_names_from_here(tmp_path: Path) -> None:
    pictures(tmp_path)
    table(tmp_path, ["p0.png", "/etc/p1.png"])
    report = look(tmp_path)
    assert captions(report) == {"p0.png": "a, red", "p1.png": ""}
    assert "row-outside" in codes(report)


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("name", ["metadata.csv", "METADATA.CSV", "metadata.tsv"])
def test_a_csv_may_have_any_usual_delimiter(tmp_path: Path, delimiter: str, name: str) -> None:
    pictures(tmp_path)
    lines = [["File_Name", " Text"], ["p0.png", '"a, red"'], ["p1.png", "b"]]
    (tmp_path / name).write_text("".join(delimiter.join(cells) + "\r\n" for cells in lines))
    report = look(tmp_path)
    assert captions(report) == WANTED and not report.problems


@pytest.mark.parametrize(
    "head", ["sep=;\nfile_name;text\n", '"sep=;"\nfile_name;text\n', "", "\n\nfile_name;text\n"]
)
def test_a_csv_may_start_as_spreadsheets_do_or_with_its_first_row(tmp_path: Path, head: str) -> None:
    pictures(tmp_path)
    (tmp_path / "metadata.csv").write_text(f"{head}p0.png;a, red\np1.png;b\n")
    report = look(tmp_path)
    assert captions(report) == WANTED and not report.problems


def test_the_advice_about_a_csv_is_for_a_csv(cli: Cli, tmp_path: Path) -> None:
    pictures(tmp_path)
    (tmp_path / "metadata.csv").write_text("name of picture;words\np0.png;a\np1.png;b\n")
    done = cli("data", str(tmp_path), "--resolution", "64")
    assert "start it with the line file_name,text" in " ".join(done.out.split())
    assert '{"file_name"' not in done.out
    (tmp_path / "metadata.csv").write_text("file_name;text\n;a\np1.png;b\n")
    assert found(look(tmp_path), "bad-row").fix == "write file_name,text"


@pytest.mark.parametrize("column", ["file_name", "image", "path", "file", "filename", "image_path", "Image"])
@pytest.mark.parametrize("text", ["text", "caption", "prompt", "Caption"])
def test_the_usual_names_of_columns_are_known(tmp_path: Path, column: str, text: str) -> None:
    pictures(tmp_path)
    table(tmp_path, ["p0.png", "p1.png"], column, text)
    report = look(tmp_path)
    assert captions(report) == WANTED and not report.problems


@pytest.mark.parametrize(
    "data",
    [
        [{"file_name": "p0.png", "text": "a, red"}, {"image": "p1.png", "caption": "b"}],
        {"p0.png": "a, red", "p1.png": "b"},
        {"p0": {"caption": "a", "tags": "red"}, "p1": {"tags": "b"}},
        {
            "/data/set/p0.png": {"caption": "a, red", "train_resolution": [64, 64]},
            "/data/set/p1.png": {"caption": "b"},
        },
        {
            "version": 1,
            "images": [{"file_name": "p0.png", "caption": "a, red"}, {"file_name": "p1.png", "caption": "b"}],
        },
    ],
)
@pytest.mark.parametrize("name", ["metadata.json", "meta_cap.json", "meta_lat.json"])
def test_a_json_table_is_read(tmp_path: Path, data: object, name: str) -> None:
    pictures(tmp_path)
    (tmp_path / name).write_text(json.dumps(data))
    report = look(tmp_path)
    assert captions(report) == WANTED and not report.problems


def test_of_kohyas_tables_the_last_step_counts(tmp_path: Path) -> None:
    pictures(tmp_path)
    (tmp_path / "meta_cap.json").write_text(json.dumps({"p0": {"caption": "old"}, "p1": {"caption": "old"}}))
    (tmp_path / "meta_lat.json").write_text(json.dumps({"p0": {"caption": "a, red"}, "p1": {"caption": "b"}}))
    report = look(tmp_path)
    assert captions(report) == WANTED and not report.problems


def test_lines_of_json_under_the_name_of_a_table_are_read(tmp_path: Path) -> None:
    pictures(tmp_path)
    table(tmp_path, ["p0.png", "p1.png"])
    (tmp_path / "metadata.jsonl").rename(tmp_path / "metadata.json")
    assert captions(look(tmp_path)) == WANTED


@pytest.mark.parametrize("text", ['{"name": "my set", "licence": "CC0"}', "{", "[]", "3", "[" * 9000, '"x"'])
def test_another_json_of_that_name_is_one_note(tmp_path: Path, text: str) -> None:
    pictures(tmp_path)
    (tmp_path / "metadata.json").write_text(text)
    note = found(look(tmp_path), "metadata-unused")
    assert note.level == "info" and '"file_name"' in note.fix


def test_a_table_in_a_subfolder_names_its_pictures_from_there(tmp_path: Path) -> None:
    pictures(tmp_path / "sub")
    (tmp_path / "sub" / "metadata.csv").write_text("file_name;text\np0.png;a, red\np1.png;b\n")
    assert captions(look(tmp_path)) == {f"sub/{name}": text for name, text in WANTED.items()}


def test_pictures_that_a_table_names_as_conditions_are_not_trained_on(tmp_path: Path) -> None:
    pictures(tmp_path)
    pictures(tmp_path / "maps")
    rows = [{"file_name": f"p{n}.png", "text": "x", "conditioning_image": f"maps/p{n}.png"} for n in range(2)]
    (tmp_path / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)))
    report = look(tmp_path)
    assert captions(report) == {"p0.png": "x", "p1.png": "x"} and not report.problems
    assert (report.counts.images, report.counts.files) == (2, 2)
