"""Pictures and their conditions: every pair is found, everything that is no pair is named, both are cut alike."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from engine.dataset import annotators
from engine.dataset.images import fit
from engine.dataset.pairs import Pairs, fit_condition, load_condition, pair_up
from engine.dataset.report import Item
from engine.dataset.scan import scan
from engine.planning.check import check
from tests.support.pictures import write_conditions, write_pictures
from tests.support.plans import make_plan


def pairs_of(pictures: Path, conditions: Path | str, recursive: bool = True) -> Pairs:
    return pair_up(scan(pictures, resolution=64, recursive=recursive), str(conditions))


def codes(pairs: Pairs) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for finding in pairs.problems:
        found.setdefault(finding.code, []).append(finding.file)
    return found


def picture(side: tuple[int, int], seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 255, (side[1], side[0], 3), dtype=np.uint8)


def test_conditions_of_the_same_names_are_found_whatever_their_format(tmp_path: Path) -> None:
    pictures = write_pictures(tmp_path / "pictures", wide=2)
    (pictures / "inner").mkdir()
    (pictures / "00.png").rename(pictures / "inner" / "00.png")
    conditions = write_conditions(pictures, tmp_path / "conditions")
    (conditions / "inner").mkdir()
    Image.fromarray(picture((64, 32))).save(conditions / "inner" / "00.bmp")
    pairs = pairs_of(pictures, conditions)
    assert not pairs.problems
    assert pairs.files["inner/00.png"] == conditions / "inner" / "00.bmp"
    assert {rel: Path(str(path)).stem for rel, path in pairs.files.items()} == {
        item.rel: Path(item.rel).stem for item in pairs.report.items
    }
    assert len(pairs.report.items) == sum(pairs.report.buckets.values()) == 6


def test_every_picture_without_a_usable_condition_is_named_and_left_out(tmp_path: Path) -> None:
    pictures = write_pictures(tmp_path / "pictures", count=6)
    conditions = write_conditions(pictures, tmp_path / "conditions")
    (conditions / "00.webp").unlink()
    (conditions / "01.webp").write_bytes(b"not a picture")
    Image.fromarray(picture((64, 32))).save(conditions / "02.webp")
    (conditions / "stray.png").write_bytes((conditions / "03.webp").read_bytes())
    Image.fromarray(picture((64, 64))).save(conditions / "04.png")
    pairs = pairs_of(pictures, conditions)
    assert codes(pairs) == {
        "condition-missing": ["00.png"],
        "condition-unreadable": ["01.png"],
        "condition-shape": ["02.png"],
        "condition-alone": ["stray.png"],
        "two-conditions": ["04.webp"],
    }
    assert sorted(pairs.files) == ["03.png", "04.png", "05.png"]
    assert Path(str(pairs.files["04.png"])).name == "04.png"


def test_the_metadata_column_names_conditions_in_the_same_folder(tmp_path: Path) -> None:
    pictures = write_pictures(tmp_path / "set", count=3)
    write_conditions(pictures, pictures / "maps")
    rows = [
        {"file_name": f"0{n}.png", "text": "x", "conditioning_image": f"maps/0{n}.webp"} for n in range(2)
    ]
    rows.append({"file_name": "02.png", "text": "x", "conditioning_image": "../../secret.png"})
    (pictures / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (pictures / "maps" / "02.webp").unlink()
    pairs = pairs_of(pictures, "")
    assert sorted(pairs.files) == ["00.png", "01.png"], "condition pictures are not trained on"
    assert codes(pairs) == {"condition-outside": ["metadata.jsonl"], "condition-missing": ["02.png"]}


def test_a_set_without_any_condition_is_one_error(tmp_path: Path) -> None:
    pairs = pairs_of(write_pictures(tmp_path / "pictures", count=3), "")
    assert [f.code for f in pairs.problems if f.level == "error"] == ["no-conditions"]
    assert pairs.report.items == ()


def test_a_condition_is_cut_exactly_as_its_picture() -> None:
    array = picture((200, 100))
    item = Item(Path(), "a.png", 200, 100, "", "", (64, 64))
    for crop in ((0.0, 0.5), (0.3, 0.7), (1.0, 1.0)):
        cut = fit_condition(array, item, (64, 64), crop)
        wanted = fit(array, 64, 64, crop)
        assert np.abs(cut.astype(int) - wanted).mean() < 1.0


def test_a_mark_stays_on_the_same_place_in_a_condition_of_other_sides() -> None:
    canvas = np.zeros((100, 200, 3), dtype=np.uint8)
    canvas[40:60, 120:140] = 255
    small = np.asarray(Image.fromarray(canvas).resize((100, 50), Image.Resampling.BOX))
    item = Item(Path(), "a.png", 200, 100, "", "", (64, 64))
    places = []
    for source in (canvas, small):
        cut = fit_condition(source, item, (64, 64), (0.7, 0.5))[..., 0].astype(float)
        places.append((cut.sum(0) @ np.arange(64) / cut.sum(), cut.sum(1) @ np.arange(64) / cut.sum()))
    assert np.abs(np.array(places[0]) - np.array(places[1])).max() < 0.5


def test_conditions_are_red_first_and_black_where_they_are_clear(tmp_path: Path) -> None:
    canvas = Image.new("RGBA", (8, 8), (0, 0, 0, 0))
    canvas.paste((255, 0, 0, 255), (0, 0, 4, 8))
    canvas.save(tmp_path / "a.png")
    found = load_condition(tmp_path / "a.png")
    assert found[0, 0].tolist() == [255, 0, 0]
    assert found[0, 7].tolist() == [0, 0, 0]


def test_edges_are_found_where_a_square_ends() -> None:
    canvas = np.zeros((64, 64, 3), dtype=np.uint8)
    canvas[16:48, 16:48] = (255, 0, 0)
    edges = annotators.maker("canny")(canvas)
    assert edges.shape == (64, 64, 3) and set(np.unique(edges)) == {0, 255}
    rows = np.flatnonzero(edges[:, 32, 0])
    assert len(rows) == 2 and abs(rows[0] - 16) <= 1 and abs(rows[1] - 47) <= 1


def test_the_check_names_every_pair_that_is_broken(tmp_path: Path) -> None:
    pictures = write_pictures(tmp_path / "pictures", count=9)
    conditions = write_conditions(pictures, tmp_path / "conditions")
    for number in range(7):
        (conditions / f"0{number}.webp").unlink()
    plan = make_plan(pictures, method="controlnet", controlnet__condition_path=str(conditions))
    found = [problem for problem in check(plan) if problem.key == "controlnet.condition_path"]
    assert [problem.level for problem in found] == ["warning"]
    assert all(f"0{number}.png" in found[0].what for number in range(7))
    assert "7 left out" in found[0].why


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"controlnet__condition_path": "nowhere"}, "controlnet.condition_path"),
        ({}, "controlnet.condition_path"),
        ({"controlnet__condition": "depth"}, "controlnet.condition"),
        ({"controlnet__condition": "canny", "controlnet__start": "nowhere"}, "controlnet.start"),
        ({"controlnet__condition": "canny", "data__class_count": 3}, "data.class_count"),
    ],
)
def test_what_cannot_work_is_an_error_before_the_start(
    changes: dict[str, object], key: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    plan = make_plan(write_pictures(tmp_path / "pictures"), method="controlnet", **changes)
    assert key in [problem.key for problem in check(plan) if problem.level == "error"]


def test_the_users_folders_are_not_written_to(tmp_path: Path) -> None:
    pictures = write_pictures(tmp_path / "pictures")
    conditions = write_conditions(pictures, tmp_path / "conditions")
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    pairs_of(pictures, conditions)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before
