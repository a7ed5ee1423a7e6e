"""The dataset doctor: everything that a newcomer trips over is found, named, and answered with a next step."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from engine.dataset.scan import DatasetReport, Finding, scan
from engine.errors import UserError


def picture(path: Path, width: int = 64, height: int = 64, seed: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    array = np.random.default_rng([seed, *path.name.encode()]).integers(
        0, 256, (height, width, 3), dtype=np.uint8
    )
    Image.fromarray(array).save(path)
    return path


def codes(report: DatasetReport) -> set[str]:
    return {finding.code for finding in report.problems}


def only(report: DatasetReport, code: str) -> Finding:
    (finding,) = [finding for finding in report.problems if finding.code == code]
    return finding


def test_a_good_folder_has_no_problem(tmp_path: Path) -> None:
    for name in ("a", "b"):
        picture(tmp_path / f"{name}.png")
        (tmp_path / f"{name}.txt").write_text(f"a photo of sks {name}")
    report = scan(tmp_path, resolution=64, trigger="sks")
    assert not report.problems
    assert [(item.rel, item.width, item.height, item.size) for item in report.items] == [
        ("a.png", 64, 64, (64, 64)),
        ("b.png", 64, 64, (64, 64)),
    ]
    assert report.items[0].caption == "a photo of sks a" and report.items[0].caption_source == "a.txt"
    assert report.items[0].path == tmp_path / "a.png"
    assert report.counts.images == report.counts.captioned == report.counts.files == 2
    assert report.median_size == (64, 64) and report.buckets == {(64, 64): 2}
    assert report.require() is report


def test_a_missing_folder_a_file_and_an_empty_folder_are_errors(tmp_path: Path) -> None:
    missing = scan(tmp_path / "phtos" / "cat", resolution=64)
    assert (
        only(missing, "folder-missing").level == "error"
        and str(tmp_path) in only(missing, "folder-missing").why
    )
    assert only(scan(picture(tmp_path / "a.png"), resolution=64), "not-a-folder").level == "error"
    (tmp_path / "empty").mkdir()
    report = scan(tmp_path / "empty", resolution=64)
    assert only(report, "folder-empty").level == "error" and not report.items
    with pytest.raises(UserError) as caught:
        report.require()
    assert "no picture" in caught.value.what and caught.value.fix


def test_pictures_in_subfolders_are_found_out_and_read_when_asked(tmp_path: Path) -> None:
    picture(tmp_path / "10_cat" / "a.png")
    (tmp_path / "10_cat" / "a.txt").write_text("a cat")
    picture(tmp_path / "10_cat" / "deep" / "b.png")
    report = scan(tmp_path, resolution=64)
    finding = only(report, "only-subfolders")
    assert finding.level == "error" and "10_cat (2)" in finding.what and not report.items
    both = scan(tmp_path, resolution=64, recursive=True)
    assert [item.rel for item in both.items] == ["10_cat/a.png", "10_cat/deep/b.png"]
    assert both.items[0].caption == "a cat" and not both.errors
    picture(tmp_path / "top.png")
    assert only(scan(tmp_path, resolution=64), "subfolders").level == "info"


def test_broken_animated_and_unsupported_files_are_left_out_and_the_rest_is_kept(tmp_path: Path) -> None:
    picture(tmp_path / "good.png")
    whole = picture(tmp_path / "torn.png").read_bytes()
    (tmp_path / "torn.png").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "page.jpg").write_text("<html>not found</html>")
    frames = [Image.new("RGB", (8, 8), (i, 0, 0)) for i in (0, 200)]
    frames[0].save(tmp_path / "moving.gif", save_all=True, append_images=frames[1:])
    for name in ("film.mp4", "phone.HEIC", "all.zip"):
        (tmp_path / name).write_bytes(b"x")
    report = scan(tmp_path, resolution=64)
    assert [item.rel for item in report.items] == ["good.png"]
    left_out = {finding.file: finding.code for finding in report.problems if finding.level == "warning"}
    assert left_out.pop("torn.png") in ("truncated", "unreadable")
    assert left_out == {
        "page.jpg": "unreadable",
        "moving.gif": "animated",
        "film.mp4": "unsupported",
        "phone.HEIC": "unreadable",
        "all.zip": "unsupported",
        ".": "no-captions",
    }
    assert (report.counts.files, report.counts.images, report.counts.unreadable) == (5, 1, 3)
    assert (report.counts.animated, report.counts.unsupported) == (1, 2)


def test_a_folder_of_broken_pictures_only_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"")
    assert only(scan(tmp_path, resolution=64), "nothing-usable").level == "error"


def test_a_small_picture_is_told_with_how_much_it_is_enlarged(tmp_path: Path) -> None:
    picture(tmp_path / "tiny.png", 32, 32)
    picture(tmp_path / "less.png", 100, 100)
    report = scan(tmp_path, resolution=128)
    found = {finding.file: finding for finding in report.problems if finding.code == "too-small"}
    assert found["tiny.png"].level == "warning" and "4.00 times" in found["tiny.png"].what
    assert found["less.png"].level == "info" and "1.28 times" in found["less.png"].what
    assert report.counts.too_small == 2


def test_what_is_cut_away_is_told(tmp_path: Path) -> None:
    picture(tmp_path / "panorama.png", 1000, 100)
    assert "60%" in only(scan(tmp_path, resolution=64), "cut").what
    assert "90%" in only(scan(tmp_path, resolution=64, bucket=False), "cut").what


@pytest.mark.parametrize("bucket", [True, False])
def test_pictures_at_another_resolution_are_what_a_scan_there_finds(tmp_path: Path, bucket: bool) -> None:
    for index, (width, height) in enumerate([(64, 64), (96, 64), (40, 120)]):
        picture(tmp_path / f"{index}.png", width, height, seed=index)
    found = scan(tmp_path, resolution=128, bucket=bucket, trigger="sks")
    for side in (64, 96, 256):
        assert found.at(side, bucket) == scan(tmp_path, resolution=side, bucket=bucket, trigger="sks").items


def test_kinds_of_pictures_are_counted_and_told(tmp_path: Path) -> None:
    Image.new("RGBA", (64, 64)).save(tmp_path / "alpha.png")
    Image.new("L", (64, 64)).save(tmp_path / "grey.png")
    Image.new("CMYK", (64, 64)).save(tmp_path / "print.jpg")
    Image.fromarray(np.zeros((64, 64), dtype=np.uint16)).save(tmp_path / "deep.png")
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (128, 64)).save(tmp_path / "turned.jpg", exif=exif)
    report = scan(tmp_path, resolution=64)
    counts = report.counts
    assert (counts.alpha, counts.grey, counts.cmyk, counts.sixteen_bit, counts.rotated) == (1, 2, 1, 1, 1)
    turned = next(item for item in report.items if item.rel == "turned.jpg")
    assert (turned.width, turned.height) == (64, 128) and turned.size[0] < turned.size[1]


def test_copies_are_found_by_a_deep_scan(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    shutil.copy(tmp_path / "a.png", tmp_path / "b copy.png")
    picture(tmp_path / "c.png")
    assert scan(tmp_path, resolution=64).counts.duplicates == 0
    report = scan(tmp_path, resolution=64, deep=True)
    finding = only(report, "duplicate")
    assert finding.file == "b copy.png" and "a.png" in finding.what and report.counts.duplicates == 1


def test_a_flaw_that_only_decoding_shows_is_found_by_a_deep_scan(tmp_path: Path) -> None:
    raw = bytearray(picture(tmp_path / "flawed.png").read_bytes())
    raw[len(raw) // 2] ^= 0xFF
    (tmp_path / "flawed.png").write_bytes(raw)
    picture(tmp_path / "good.png")
    assert len(scan(tmp_path, resolution=64).items) == 2
    report = scan(tmp_path, resolution=64, deep=True)
    assert [item.rel for item in report.items] == ["good.png"]
    assert only(report, "unreadable").file == "flawed.png"


def test_missing_empty_and_long_captions_are_told(tmp_path: Path) -> None:
    for name in ("fine", "missing", "empty", "long"):
        picture(tmp_path / f"{name}.png")
    (tmp_path / "fine.txt").write_text("a fox")
    (tmp_path / "empty.txt").write_text(" \n")
    (tmp_path / "long.txt").write_text("word " * 80)
    report = scan(tmp_path, resolution=64)
    assert only(report, "caption-missing").file == "missing.png"
    assert only(report, "caption-empty").file == "empty.png"
    assert only(report, "caption-long").file == "long.png" and "80" in only(report, "caption-long").what
    counts = report.counts
    assert (counts.captioned, counts.caption_missing, counts.caption_empty, counts.caption_long) == (
        2,
        1,
        1,
        1,
    )


def test_without_any_caption_the_trigger_stands_alone_and_one_finding_says_so(tmp_path: Path) -> None:
    for index in range(5):
        picture(tmp_path / f"{index}.png")
    report = scan(tmp_path, resolution=64, trigger="sks cat")
    assert {item.caption for item in report.items} == {"sks cat"}
    assert {item.caption_source for item in report.items} == {"trigger"}
    assert only(report, "no-captions").level == "info" and report.counts.caption_missing == 5
    bare = scan(tmp_path, resolution=64)
    assert only(bare, "no-captions").level == "warning" and bare.items[0].caption == ""


def test_a_trigger_missing_from_captions_is_put_in_and_told(tmp_path: Path) -> None:
    for name, text in (("a", "sks fox"), ("b", "a fox"), ("c", "[trigger] fox")):
        picture(tmp_path / f"{name}.png")
        (tmp_path / f"{name}.txt").write_text(text)
    report = scan(tmp_path, resolution=64, trigger="sks")
    assert [item.caption for item in report.items] == ["sks fox", "sks, a fox", "sks fox"]
    assert only(report, "trigger-missing").file == "b.png" and report.counts.trigger_missing == 1
    kept = scan(tmp_path, resolution=64, trigger="sks", trigger_mode="keep")
    assert [item.caption for item in kept.items] == ["sks fox", "a fox", "sks fox"]
    assert only(kept, "trigger-missing").level == "warning"
    assert only(scan(tmp_path, resolution=64), "placeholder").file == "c.png"


def test_metadata_rows_and_files_are_held_against_each_other(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    picture(tmp_path / "b.png")
    (tmp_path / "metadata.jsonl").write_text(
        '{"file_name":"a.png","text":"x"}\n{"file_name":"z.png","text":"y"}'
    )
    report = scan(tmp_path, resolution=64)
    assert {"row-without-file", "picture-without-row"} <= codes(report)
    assert report.counts.rows_without_file == 1


def test_a_link_out_of_the_folder_is_refused_and_one_inside_is_read(tmp_path: Path) -> None:
    outside = picture(tmp_path / "private" / "secret.png")
    (outside.parent / "secret.txt").write_text("a secret")
    data = tmp_path / "data"
    picture(data / "real.png")
    (data / "out.png").symlink_to(outside)
    (data / "real.txt").symlink_to(outside.parent / "secret.txt")
    (data / "folder").symlink_to(outside.parent)
    (data / "gone.png").symlink_to(tmp_path / "nowhere.png")
    (data / "loop").symlink_to(data)
    (data / "inside.png").symlink_to(data / "real.png")
    report = scan(data, resolution=64, recursive=True)
    assert [item.rel for item in report.items] == ["inside.png", "real.png"]
    refused = {finding.file for finding in report.problems if finding.code == "link-outside"}
    assert refused == {"out.png", "real.txt", "folder", "gone.png"}
    assert "secret" not in json.dumps(report.to_json())
    assert scan(data, resolution=64).counts.links_outside == 4


def test_a_folder_that_is_itself_a_link_is_read(tmp_path: Path) -> None:
    picture(tmp_path / "real" / "a.png")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    assert len(scan(tmp_path / "link", resolution=64).items) == 1


def test_hidden_files_of_other_systems_are_passed_over_without_a_word(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    (tmp_path / "a.txt").write_text("a fox")
    (tmp_path / "._a.png").write_bytes(b"AppleDouble")
    (tmp_path / "__MACOSX").mkdir()
    (tmp_path / "__MACOSX" / "b.png").write_bytes(b"x")
    os.mkfifo(tmp_path / "pipe.png")
    report = scan(tmp_path, resolution=64, recursive=True)
    assert len(report.items) == 1 and not report.problems


def test_a_name_that_would_steer_the_terminal_is_shown_escaped(tmp_path: Path) -> None:
    evil = "\x1b[2Jx\n.png"
    (tmp_path / evil).write_bytes(b"")
    shutil.copy(picture(tmp_path / "a.png"), tmp_path / os.fsdecode(b"\xff.png"))
    report = scan(tmp_path, resolution=64)
    text = report.text()
    assert "\x1b" not in text and "\\x1b[2Jx\\n.png" in text
    text.encode("utf-8")
    json.dumps(report.to_json()).encode("utf-8")
    assert any(item.path.read_bytes()[:4] == b"\x89PNG" for item in report.items if item.rel != "a.png")


def test_the_report_is_plain_data_and_a_text_of_the_given_width(tmp_path: Path) -> None:
    for index in range(9):
        picture(tmp_path / f"{index}.png", 32 + 8 * (index % 3), 32)
        (tmp_path / f"{index}.txt").write_text("red fox, snow, night, tree")
    report = scan(tmp_path, resolution=64, trigger="sks")
    data = json.loads(json.dumps(report.to_json()))
    assert data["counts"]["images"] == 9 and len(data["items"]) == 9
    assert data["problems"] == [finding.to_json() for finding in report.problems]
    assert report.words_are == "tags" and dict(report.words)["red fox"] == 9
    for width in (40, 80, 120):
        lines = report.text(width).splitlines()
        assert max(len(line) for line in lines) <= width
    assert "9 pictures" in lines[0] and "and 5 more like these" in report.text()


def test_the_bucket_table_says_how_many_batches_and_repeats(tmp_path: Path) -> None:
    for index in range(5):
        picture(tmp_path / f"square{index}.png")
    picture(tmp_path / "wide.png", 100, 50)
    report = scan(tmp_path, resolution=64)
    table = {(row.width, row.height): (row.images, row.batches, row.repeats) for row in report.batches(4)}
    assert table == {(64, 64): (5, 2, 3), (88, 40): (1, 1, 3)}
    assert scan(tmp_path, resolution=64, bucket=False).buckets == {(64, 64): 6}


def test_progress_ends_at_the_total(tmp_path: Path) -> None:
    for index in range(3):
        picture(tmp_path / f"{index}.png")
    seen: list[tuple[int, int]] = []
    scan(tmp_path, resolution=64, on_progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (3, 3)


def test_a_resolution_that_cannot_be_trained_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="multiple of 8"):
        scan(tmp_path, resolution=100)


def test_two_scans_of_one_folder_are_equal(tmp_path: Path) -> None:
    for index in range(6):
        picture(tmp_path / f"{index}.png", 60 + index, 50)
    assert scan(tmp_path, resolution=64, deep=True) == scan(tmp_path, resolution=64, deep=True)


def test_the_scan_needs_no_torch() -> None:
    code = (
        "import sys, engine.dataset.scan, engine.dataset.loader, engine.dataset.contents;"
        "print([m for m in ('torch', 'safetensors', 'transformers', 'diffusers') if m in sys.modules])"
    )
    environment = {"OMP_NUM_THREADS": "1", "PYTHONPATH": ":".join(sys.path)}
    result = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "[]"
