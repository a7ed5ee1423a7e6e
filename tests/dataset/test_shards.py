"""WebDataset shards: samples are found by their keys, read by offset, indexed once, and nothing is unpacked."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import shutil
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from engine.dataset import contents
from engine.dataset import shards as shards_module
from engine.dataset.contents import ContentIndex
from engine.dataset.images import load_rgb
from engine.dataset.location import expand
from engine.dataset.pairs import load_condition, pair_up
from engine.dataset.refusals import PictureError
from engine.dataset.report import DatasetReport
from engine.dataset.scan import scan
from tests.support.pictures import write_pictures
from tests.support.shards import pack, png, write_shard

pytestmark = pytest.mark.usefixtures("home")


@pytest.fixture
def trusting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files just written count as settled, so that what is found in them is stored."""
    monkeypatch.setattr(contents, "_SETTLED_NS", -(10**18))


def look(path: Path, **options: object) -> DatasetReport:
    return scan(path, resolution=64, recursive=True, **options)  # type: ignore[arg-type]


def codes(report: DatasetReport) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for finding in report.problems:
        found.setdefault(finding.code, []).append(finding.file)
    return found


def facts(report: DatasetReport) -> list[tuple[int, int, str, tuple[int, int], bytes]]:
    """What training sees of the items."""
    return [
        (item.width, item.height, item.caption, item.size, load_rgb(item.source).tobytes())
        for item in report.items
    ]


def test_shards_hold_what_the_folder_held(tmp_path: Path) -> None:
    pictures = write_pictures(tmp_path / "pictures", count=7, wide=2)
    shards = pack(pictures, tmp_path / "shards", (3, 0, 4))
    folder, packed = look(pictures), look(shards)
    assert facts(packed) == facts(folder) and len(packed.items) == 7
    assert packed.buckets == folder.buckets and packed.words == folder.words
    assert packed.counts == folder.counts
    assert [finding.code for finding in packed.problems] == [finding.code for finding in folder.problems]
    assert packed.items[3].rel == "00002.tar/03.png"


def test_a_folder_one_shard_and_a_pattern_name_the_same_samples(tmp_path: Path) -> None:
    shards = pack(write_pictures(tmp_path / "pictures", count=4), tmp_path / "sets" / "shards", (2, 2))
    whole = facts(look(shards))
    assert facts(look(tmp_path / "sets")) == whole
    assert facts(look(shards / "{00000..00001}.tar")) == whole
    assert facts(look(tmp_path / "sets" / "{other,shards}" / "0000{0..1}.tar")) == whole
    assert facts(look(shards / "00000.tar")) == whole[:2]
    assert codes(scan(tmp_path / "sets", resolution=64)) == {"only-subfolders": ["."]}


def test_a_sample_is_all_members_with_the_same_path_up_to_the_first_dot(tmp_path: Path) -> None:
    write_shard(
        tmp_path / "a.tar",
        {
            "./x/0.jpg": png(seed=1),
            "./x/0.txt": " a dog\n",
            "y/0.PNG": png(seed=2),
            "1.webp": png(seed=3),
            "1.caption": "a cat",
            "2.json": json.dumps({"url": "http://", "caption": "a bird"}),
            "3.png": png(seed=4),
            "3.json": json.dumps({"text": "a fish"}),
            "4.png": png(seed=5),
            "4.json": json.dumps({"caption": "not this"}),
            "4.txt": "this one",
            "4.cls": "7",
            "2.png": png(seed=6),
            "y/0.txt": "late, but found",
            "5.png": png(seed=7),
            "5.json": "[1, 2",
        },
    )
    found = {item.rel: item.caption for item in look(tmp_path).items}
    assert found == {
        "a.tar/./x/0.jpg": "a dog",
        "a.tar/y/0.PNG": "late, but found",
        "a.tar/1.webp": "a cat",
        "a.tar/2.png": "a bird",
        "a.tar/3.png": "a fish",
        "a.tar/4.png": "this one",
        "a.tar/5.png": "",
    }


def test_the_trigger_and_missing_captions_are_handled_as_in_folders(tmp_path: Path) -> None:
    write_shard(
        tmp_path / "a.tar", {"0.png": png(), "0.txt": "a dog", "1.png": png(), "2.png": png(), "2.txt": " "}
    )
    report = look(tmp_path, trigger="zvx")
    assert [item.caption for item in report.items] == ["zvx, a dog", "zvx", "zvx"]
    assert codes(report)["caption-missing"] == ["a.tar/1.png"]
    assert codes(report)["caption-empty"] == ["a.tar/2.png"]
    assert report.items[0].caption_source == "a.tar/*.txt"


def test_a_torn_shard_is_named_with_its_last_good_sample_and_the_others_go_on(tmp_path: Path) -> None:
    shards = pack(write_pictures(tmp_path / "pictures", count=6), tmp_path / "shards", (3, 3))
    whole = (shards / "00000.tar").read_bytes()
    with tarfile.open(shards / "00000.tar") as tar:
        third = tar.getmember("02.png")
    (shards / "00000.tar").write_bytes(whole[: third.offset_data + 100])
    report = look(shards)
    (finding,) = report.problems
    assert (finding.code, finding.file, finding.level) == ("shard-torn", "00000.tar", "warning")
    assert "after sample 01," in finding.what and "02.png" in finding.why
    assert [item.rel for item in report.items] == [
        *("00000.tar/00.png", "00000.tar/01.png"),
        *(f"00001.tar/0{number}.png" for number in (3, 4, 5)),
    ]
    # Here the third picture is whole and its caption is not: it would be taught without words.
    (shards / "00000.tar").write_bytes(whole[: third.offset_data + third.size + 700])
    assert [item.rel for item in look(shards).items] == [item.rel for item in report.items]
    (shards / "00000.tar").write_bytes(b"")
    (shards / "00001.tar").write_bytes(b"no tar at all" * 100)
    empty = look(shards)
    assert codes(empty) == {"shard-torn": ["00000.tar", "00001.tar"], "nothing-usable": ["."]}
    assert empty.errors and not empty.items


def test_what_cannot_be_used_is_named_by_its_member_and_left_out(tmp_path: Path) -> None:
    whole = png((64, 64), 1)
    members: dict[str, bytes | str] = {
        "good.png": whole,
        "torn.png": whole[:-200],
        "text.jpg": "<html>",
        "zero.png": b"",
        "my.photo.jpg": whole,
        "alone.txt": "words",
        "._good.png": b"x",
        "__MACOSX/good.png": b"x",
        "long.png": png(seed=3),
        "long.txt": "x" * 70_000,
    }
    write_shard(tmp_path / "a.tar", members)
    report = look(tmp_path)
    assert [item.rel for item in report.items] == ["a.tar/good.png", "a.tar/long.png"]
    found = codes(report)
    assert found["truncated"] == ["a.tar/torn.png"]
    assert sorted(found["unreadable"]) == ["a.tar/text.jpg", "a.tar/zero.png"]
    assert found["shard-other"] == found["shard-no-picture"] == found["shard-long-caption"] == ["a.tar"]
    told = {finding.code: finding.what for finding in report.problems}
    assert "my.photo.jpg" in told["shard-other"] and "alone.txt" in told["shard-no-picture"]
    assert str(tmp_path) not in told["truncated"]
    assert report.counts.files == 5 and report.counts.images == 2


def test_names_that_would_leave_a_folder_harm_nobody(tmp_path: Path) -> None:
    folder = tmp_path / "shards"
    write_shard(
        folder / "a.tar",
        {"../../up.png": png(seed=1), "/abs.png": png(seed=2), "a/\x1b[2Jb.png": png(seed=3)},
    )
    with tarfile.open(folder / "a.tar", "a") as tar:
        link = tarfile.TarInfo("link.png")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
    before = sorted(tmp_path.rglob("*"))
    report = look(folder, deep=True)
    assert len(facts(report)) == 3
    assert codes(report)["shard-link"] == ["a.tar"]
    assert "\x1b" not in report.text()
    after = sorted(path for path in tmp_path.rglob("*") if "home" not in path.parts)
    assert after == [path for path in before if "home" not in path.parts]


def test_packed_shards_are_refused_by_name(tmp_path: Path) -> None:
    plain = write_shard(tmp_path / "plain" / "a.tar", {"0.png": png()})
    packed = tmp_path / "packed" / "a.tar.gz"
    packed.parent.mkdir()
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    for path in (packed.parent, packed):
        report = look(path)
        (finding,) = [finding for finding in report.problems if finding.code == "unsupported"]
        assert finding.file == "a.tar.gz" and "gzip -d -k a.tar.gz" in finding.fix
        assert report.errors and not report.items
    packed.rename(packed.with_name("b.tar"))
    (finding,) = [finding for finding in look(packed.parent).problems if finding.code == "unsupported"]
    assert finding.file == "b.tar" and "gzip" in finding.what


def test_pictures_beside_shards_are_refused_with_the_way_out(tmp_path: Path) -> None:
    shards = pack(write_pictures(tmp_path / "pictures", count=2), tmp_path / "shards", (1, 1))
    (shards / "grid.png").write_bytes(png())
    report = look(shards)
    (error,) = report.errors
    assert error.code == "mixed" and "grid.png" in error.what and "00000.tar" in error.what
    pattern = Path(error.fix.partition("data.path = ")[2])
    assert len(look(pattern).items) == 2


def test_tables_and_notes_beside_shards_are_no_findings(tmp_path: Path) -> None:
    shards = pack(write_pictures(tmp_path / "pictures", count=2), tmp_path / "shards", (2,))
    for name in ("00000.parquet", "00000_stats.json", "README.txt", "00000.txt"):
        (shards / name).write_bytes(b"x")
    assert not look(shards).problems


def test_patterns_count_with_their_zeros_and_name_alternatives() -> None:
    assert expand("s/{08..11}.tar") == ["s/08.tar", "s/09.tar", "s/10.tar", "s/11.tar"]
    assert expand("{8..11}") == ["8", "9", "10", "11"]
    assert expand("{2..0}{a,b}") == ["2a", "2b", "1a", "1b", "0a", "0b"]
    assert expand("{a}{}x") == ["{a}{}x"]
    assert expand("{0..999999999}") is None and expand("{0..999}{0..999}") is None


def test_missing_shards_of_a_pattern_are_named(tmp_path: Path) -> None:
    shards = pack(write_pictures(tmp_path / "pictures", count=2), tmp_path / "shards", (1, 1))
    report = look(shards / "{00000..00003}.tar")
    assert len(report.items) == 2 and not report.errors
    (finding,) = report.problems
    assert finding.code == "shard-missing" and "00002.tar, 00003.tar" in finding.what
    assert [f.code for f in look(shards / "{00005..00006}.tar").errors] == ["shard-missing"]
    assert [f.code for f in look(shards / "{0..999999999}.tar").errors] == ["pattern"]
    assert [f.code for f in look(shards / "{00000..00001}.zip").errors] == ["pattern"] * 2


def test_a_second_look_reads_no_shard_and_finds_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trusting: None
) -> None:
    shards = pack(write_pictures(tmp_path / "pictures", count=6), tmp_path / "shards", (3, 3))
    write_shard(shards / "00002.tar", {"a.png": png(), "a.condition.png": png(), "b.jpg": b"torn"})
    first = look(shards)
    read: list[str] = []
    real = shards_module.read_shard

    def counted(root: Path, rel: str) -> object:
        read.append(rel)
        return real(root, rel)

    monkeypatch.setattr("engine.dataset.shard_index.read_shard", counted)
    assert look(shards) == first and not read
    before = facts(first)[:6]
    raw = (shards / "00001.tar").read_bytes()
    (shards / "00001.tar").write_bytes(raw[:-2048] + bytes(2048))
    os.utime(shards / "00001.tar", ns=(1, 1))
    again = look(shards)
    assert read == ["00001.tar"] and facts(again)[:6] == before


def test_a_damaged_or_foreign_index_is_made_anew(tmp_path: Path, home: Path, trusting: None) -> None:
    shards = pack(write_pictures(tmp_path / "pictures", count=3), tmp_path / "shards", (3,))
    first = look(shards)
    (index,) = (home / "cache" / "shards").glob("*.json")
    whole = index.read_text()
    rows = json.loads(whole)
    for damaged in (
        "",
        whole[:-30],
        "[]",
        '{"version": 1}',
        json.dumps({**rows, "version": 0}),
        json.dumps({**rows, "names": rows["names"][:1]}),
        json.dumps({**rows, "headers": [9, 9, 9]}),
        json.dumps({**rows, "problems": [{"code": 1}]}),
    ):
        index.write_text(damaged)
        assert look(shards) == first
        assert index.read_text() == whole


def test_a_cache_that_cannot_be_written_costs_only_time(tmp_path: Path, home: Path) -> None:
    shards = pack(write_pictures(tmp_path / "pictures", count=3), tmp_path / "shards", (3,))
    (home / "cache").write_text("a file where the folder should be")
    assert len(look(shards).items) == 3


def test_a_shard_that_changed_after_it_was_indexed_is_not_read_wrongly(tmp_path: Path) -> None:
    shards = pack(write_pictures(tmp_path / "pictures", count=3), tmp_path / "shards", (3,))
    item = look(shards).items[1]
    pack(write_pictures(tmp_path / "pictures", count=3, seed=5), shards, (3,))
    with pytest.raises(PictureError, match=r"00000.tar/01.png: cannot be opened") as told:
        load_rgb(item.source)
    assert "changed" in told.value.why
    item = look(shards).items[1]
    (shards / "00000.tar").chmod(0o444)
    (shards / "00000.tar").rename(tmp_path / "moved.tar")
    shutil.copy2(tmp_path / "moved.tar", shards / "00000.tar")
    assert load_rgb(item.source).shape == (64, 64, 3)


def test_members_are_hashed_once_and_by_their_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trusting: None
) -> None:
    pictures = write_pictures(tmp_path / "pictures", count=4)
    items = look(pack(pictures, tmp_path / "shards", (2, 2))).items
    files = [hashlib.sha256(file.read_bytes()).hexdigest() for file in sorted(pictures.glob("*.png"))]
    index = ContentIndex(tmp_path / "cache")
    assert [index.sha256(item.source) for item in items] == files
    index.close()
    stored = list((tmp_path / "cache" / "shards").glob("*.sha256"))
    assert len(stored) == 2
    with stored[0].open("ab") as file:
        file.write(b"5 torn")
    monkeypatch.setattr(contents, "_hash", lambda source: pytest.fail(f"hashed again: {source}"))
    assert [ContentIndex(tmp_path / "cache").sha256(item.source) for item in items] == files


def test_a_deep_look_decodes_members_and_finds_copies(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)).save(
        buffer, "JPEG"
    )
    broken = bytearray(png(seed=1))
    broken[len(broken) // 2 :: 7] = bytes(len(broken[len(broken) // 2 :: 7]))
    members = {
        "a.jpg": buffer.getvalue(),
        "b.png": png(seed=2),
        "c.jpg": buffer.getvalue(),
        "d.png": bytes(broken),
    }
    broken[-12:] = png(seed=1)[-12:]
    write_shard(tmp_path / "a.tar", {**members, "d.png": bytes(broken)})
    report = look(tmp_path, deep=True)
    assert codes(report)["duplicate"] == ["a.tar/c.jpg"]
    assert "a.tar/d.png" not in {item.rel for item in report.items}


def test_a_look_leaves_the_shards_as_they_were(tmp_path: Path) -> None:
    shards = pack(write_pictures(tmp_path / "pictures", count=3), tmp_path / "shards", (2, 1))
    shards.chmod(0o555)
    before = {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in shards.iterdir()}
    report = look(shards, deep=True)
    for item in report.items:
        load_rgb(item.source)
    assert {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in shards.iterdir()} == before
    shards.chmod(0o755)


def test_conditions_lie_in_their_samples(tmp_path: Path) -> None:
    members: dict[str, bytes | str] = {
        "0.png": png(seed=0),
        "0.condition.png": png(seed=10),
        "1.png": png(seed=1),
        "2.png": png(seed=2),
        "2.conditioning_image.png": png((64, 32), 12),
        "3.png": png(seed=3),
        "3.control.webp": b"torn",
    }
    write_shard(tmp_path / "shards" / "a.tar", members)
    report = look(tmp_path / "shards")
    pairs = pair_up(report, "")
    assert [item.rel for item in pairs.report.items] == ["a.tar/0.png"]
    wanted = np.array(Image.open(io.BytesIO(png(seed=10))))
    assert np.array_equal(load_condition(pairs.files["a.tar/0.png"]), wanted)
    assert {finding.code: finding.file for finding in pairs.problems} == {
        "condition-missing": "a.tar/1.png",
        "condition-shape": "a.tar/2.png",
        "condition-unreadable": "a.tar/3.png",
    }
    apart = pair_up(report, str(tmp_path))
    assert not apart.files and [finding.code for finding in apart.problems] == ["no-conditions"]
    write_shard(tmp_path / "plain" / "a.tar", {"0.png": png()})
    none = pair_up(look(tmp_path / "plain"), "")
    assert none.problems[0].level == "error" and "KEY.condition.png" in none.problems[0].fix


def test_progress_counts_shards(tmp_path: Path) -> None:
    shards = pack(write_pictures(tmp_path / "pictures", count=3), tmp_path / "shards", (2, 1))
    seen: list[tuple[int, int]] = []
    look(shards, on_progress=lambda done, total: seen.append((done, total)))
    assert seen == [(1, 2), (2, 2)]
