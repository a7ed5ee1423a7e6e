"""What is no training picture is never trained on, and one finding says what was left out and how to include it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from engine.dataset.pairs import pair_up
from engine.plan.files import load_plan
from engine.planning.build import gather
from engine.planning.data import scan_data
from tests.cases.looking import captions, codes, found, look, picture, pictures
from tests.cli.conftest import Cli
from tests.support.pictures import write_conditions, write_pictures


@pytest.mark.parametrize(
    ("inside", "code"),
    [
        ("@eaDir/p0.png/SYNOPHOTO_THUMB_XL.jpg", "thumbnails"),
        (".thumbnails/normal/a.png", "thumbnails"),
        ("thumbnails/p0.png", "thumbnails"),
        ("#recycle/a.png", "deleted"),
        ("@Recycle/a.png", "deleted"),
        ("$RECYCLE.BIN/S-1-5-21/$R0.png", "deleted"),
        (".Trash-1000/files/a.png", "deleted"),
        (".Trashes/501/a.png", "deleted"),
        ("#snapshot/daily/p0.png", "deleted"),
        ("lost+found/a.png", "hidden"),
        ("System Volume Information/a.png", "hidden"),
        (".cache/a.png", "hidden"),
        (".ipynb_checkpoints/p0-checkpoint.png", "hidden"),
        ("conditioning/p0.png", "conditions-left-out"),
        ("conditioning_images/p0.png", "conditions-left-out"),
        ("Control/p0.png", "conditions-left-out"),
        ("masks/p0.png", "masks"),
        ("mask/p0.png", "masks"),
        ("reg/a.png", "class-pictures"),
        ("regularization/a.png", "class-pictures"),
    ],
)
@pytest.mark.parametrize("place", ["", "deeper"])
def test_a_folder_of_other_pictures_is_left_out_and_named(
    tmp_path: Path, inside: str, code: str, place: str
) -> None:
    pictures(tmp_path / place)
    picture(tmp_path / place / inside)
    report = look(tmp_path, "zork")
    assert [Path(item.rel).name for item in report.items] == ["p0.png", "p1.png"]
    finding = found(report, code)
    top = Path(place, inside.split("/")[0])
    assert finding.file == str(top) and finding.what.startswith("1 ") and finding.why
    assert "rename" in finding.fix
    alone = look(tmp_path / top)
    assert alone.counts.images == 1, "pointed at, the same folder is trained on"


@pytest.mark.parametrize("name", ["control", "mask", "depth", "conditions"])
def test_a_folder_whose_pictures_have_names_of_their_own_is_a_subject(tmp_path: Path, name: str) -> None:
    pictures(tmp_path / "treated")
    picture(tmp_path / name / "other.png")
    report = look(tmp_path, "zork")
    assert f"{name}/other.png" in captions(report) and not codes(report) - {"no-captions"}


@pytest.mark.parametrize(
    "name", ["._p0.png", "__MACOSX/p0.png", "__MACOSX/._p0.png", ".DS_Store", "Thumbs.db"]
)
def test_debris_is_passed_over_without_a_word(tmp_path: Path, name: str) -> None:
    pictures(tmp_path)
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_bytes(b"\x00\x05\x16\x07")
    report = look(tmp_path, "zork")
    assert report.counts.files == 2 and codes(report) == {"no-captions"}


@pytest.mark.parametrize(
    ("ending", "code"),
    [
        ("-masklabel", "masks"),
        ("_mask", "masks"),
        (".mask", "masks"),
        ("-Mask", "masks"),
        ("_control", "conditions-left-out"),
        ("-condlabel", "conditions-left-out"),
        (".condition", "conditions-left-out"),
    ],
)
def test_a_file_that_belongs_to_a_picture_is_none_itself(tmp_path: Path, ending: str, code: str) -> None:
    pictures(tmp_path)
    for number in range(2):
        picture(tmp_path / f"p{number}{ending}.png")
    picture(tmp_path / "gas_mask.png")
    picture(tmp_path / "in" / f"p0{ending}.png")
    (tmp_path / f"p0{ending}.txt").write_text("a text that nobody needs")
    report = look(tmp_path, "zork")
    assert [item.rel for item in report.items] == ["gas_mask.png", f"in/p0{ending}.png", "p0.png", "p1.png"]
    assert found(report, code).what.startswith("2 ") and report.counts.files == 4
    assert "caption-without-picture" not in codes(report)


def test_caches_of_other_trainers_are_named(tmp_path: Path) -> None:
    pictures(tmp_path)
    (tmp_path / "p0.npz").write_bytes(b"PK")
    (tmp_path / "p0_0064x0064_sd.npz").write_bytes(b"PK")
    assert found(look(tmp_path), "caches").what == "2 .npz files are not used"


@pytest.mark.parametrize("beside", ["model.safetensors", "model-step00000100.ckpt", "events.jsonl"])
def test_an_earlier_runs_previews_are_left_out(tmp_path: Path, beside: str) -> None:
    pictures(tmp_path)
    for folder in ("sample", "samples"):
        picture(tmp_path / "output" / folder / "00.png")
    (tmp_path / "output" / beside).write_bytes(b"")
    report = look(tmp_path)
    assert len(report.items) == 2 and "samples" in codes(report)
    picture(tmp_path / "others" / "samples" / "real.png")
    assert "others/samples/real.png" in captions(look(tmp_path))


def test_a_run_in_the_folder_is_left_out_as_a_whole(tmp_path: Path) -> None:
    pictures(tmp_path)
    run = tmp_path / "run"
    picture(run / "samples" / "00.png")
    picture(run / "export" / "card.png")
    for name in ("plan.toml", "events.jsonl"):
        (run / name).write_text("")
    report = look(tmp_path)
    assert len(report.items) == 2 and found(report, "samples").file == "run"


def test_a_folder_with_nothing_else_says_where_the_pictures_are(tmp_path: Path) -> None:
    pictures(tmp_path / "masks")
    error = found(look(tmp_path), "folder-empty")
    assert error.level == "error" and "2 masks" in error.why and str(tmp_path / "masks") in error.fix


def test_flat_reading_does_not_offer_them(tmp_path: Path) -> None:
    pictures(tmp_path)
    picture(tmp_path / "@eaDir" / "p0.png" / "x.jpg")
    report = look(tmp_path, recursive=False)
    assert "subfolders" not in codes(report) and "thumbnails" in codes(report)


@pytest.mark.parametrize("name", ["conditioning", "maps", "a/b"])
@pytest.mark.parametrize("method", ["controlnet", "t2i_adapter"])
def test_pairs_inside_the_folder_are_counted_once(cli: Cli, tmp_path: Path, name: str, method: str) -> None:
    folder = write_pictures(tmp_path / "set", count=24)
    write_conditions(folder, folder / name)
    keys = ("--set", f"{method}.condition_path={folder / name}")
    words = ("--method", method, "--base", "builtin:tiny", "--data", str(folder), "-o", "plan.toml", *keys)
    made = cli("new", *words, "--json")
    assert made.code == 0
    checked = cli("check", "plan.toml", "--json")
    problems = [row for row in checked.json["problems"] if row["key"].startswith(("data.", f"{method}."))]
    assert not [row for row in problems if "24" not in row["what"]], problems
    plan = load_plan(cli.folder / "plan.toml")
    answers = {"data.path": str(folder), "method": method, f"{method}.condition_path": str(folder / name)}
    assert gather(answers).pictures == 24
    report = scan_data(plan)
    assert report is not None and report.counts.images == report.counts.files == 24
    assert {finding.level for finding in report.problems} <= {"info"}
    assert f"{name} " not in report.text()


def test_pairs_by_the_metadatas_column_are_counted_once(tmp_path: Path) -> None:
    folder = write_pictures(tmp_path / "set", count=4)
    write_conditions(folder, folder / "maps")
    rows = [
        {"file_name": f"0{n}.png", "text": f"t{n}", "conditioning_image": f"maps/0{n}.webp"} for n in range(4)
    ]
    (folder / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)))
    report = look(folder)
    assert report.counts.images == report.counts.files == 4 and "picture-without-row" not in codes(report)
    assert len(pair_up(report, "").files) == 4
