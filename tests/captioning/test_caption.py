"""Captions by models on this machine: sentences by a BLIP, tags by a tagger, into a folder that training reads."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from engine.captioning import tagger
from engine.captioning.models import find
from engine.captioning.write import write_all
from engine.dataset.caption_rules import CaptionRules
from engine.dataset.report import Item
from engine.dataset.scan import scan
from engine.errors import UserError
from tests.captioning.models import SIDE, TAGS, write_blip, write_tagger
from tests.cli.conftest import Cli
from tests.support.shards import write_shard

COLOURS = {"red": (255, 0, 0), "green": (0, 255, 0), "sub/blue": (0, 0, 255)}
TAGGED = {"red": "red riding hood, red, ^_^", "green": "green grass, ^_^", "sub/blue": "blue sky, ^_^"}


@pytest.fixture
def cli(home: Path, tmp_path: Path) -> Cli:
    folder = tmp_path / "here"
    folder.mkdir()
    return Cli(home, folder)


@pytest.fixture
def coloured(tmp_path: Path) -> Path:
    folder = tmp_path / "coloured"
    for name, colour in COLOURS.items():
        file = folder / f"{name}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (60, 40), colour).save(file)
    (folder / "red.txt").write_text("my own words")
    return folder


@pytest.fixture
def tags(tmp_path: Path) -> Path:
    pytest.importorskip("onnxruntime")
    return write_tagger(tmp_path / "tagger")


def texts(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).with_suffix("").as_posix(): path.read_text(encoding="utf-8").strip()
        for path in folder.rglob("*.txt")
    }


def state(folder: Path) -> dict[str, tuple[int, bytes]]:
    return {
        str(path): (path.stat().st_mtime_ns, path.read_bytes() if path.is_file() else b"")
        for path in [folder, *folder.rglob("*")]
    }


def test_tags_go_into_a_folder_of_their_own_and_a_plan_trains_with_them(
    cli: Cli, coloured: Path, tags: Path, home: Path
) -> None:
    before = state(coloured)
    done = cli.process("caption", str(coloured), "--model", str(tags))
    assert done.code == 0, done.err
    (folder,) = (home / "captions").iterdir()
    assert texts(folder) == TAGGED and f'folder = "{folder}"' in done.out
    assert oct(folder.stat().st_mode)[-3:] == "700"
    assert state(coloured) == before, "the pictures' folder is only read"
    items = scan(coloured, resolution=64, recursive=True, rules=CaptionRules(folder=str(folder))).items
    assert {item.rel.removesuffix(".png"): item.caption for item in items} == TAGGED


def test_what_is_there_is_kept_unless_it_is_asked_for_anew(
    cli: Cli, coloured: Path, tags: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    words = ("caption", str(coloured), "--model", str(tags), "-o", str(out), "--json")
    assert cli.process(*words).json["written"] == 3
    (out / "red.txt").write_text("mended by hand")
    (out / "green.txt").unlink()
    again = cli.process(*words).json
    assert (again["written"], again["kept"], again["failed"]) == (1, 2, 0)
    assert texts(out) == {**TAGGED, "red": "mended by hand"}
    assert cli.process(*words, "--overwrite").json["written"] == 3 and texts(out) == TAGGED


def test_thresholds_and_tags_that_are_never_listed(
    cli: Cli, coloured: Path, tags: Path, tmp_path: Path
) -> None:
    def made(*options: str) -> str:
        out = tmp_path / "-".join(["out", *options]).replace(" ", "")
        cli.process("caption", str(coloured), "--model", str(tags), "-o", str(out), *options)
        return texts(out)["red"]

    assert made("--threshold", "0.9") == "red riding hood, red"
    assert made("--character-threshold", "1") == "red, ^_^"
    assert made("--without", "RED", "--without", "^_^") == "red riding hood"


def test_a_blip_describes_as_transformers_does_and_the_same_each_time(
    cli: Cli, coloured: Path, tmp_path: Path
) -> None:
    from transformers import AutoProcessor, BlipForConditionalGeneration

    model = write_blip(tmp_path / "blip")
    outs = []
    for name in ("one", "two"):
        words = ("-o", str(tmp_path / name), "--max-tokens", "8", "--device", "cpu")
        done = cli.process("caption", str(coloured), "--model", str(model), *words)
        assert done.code == 0, done.err
        outs.append(texts(tmp_path / name))
    assert outs[0] == outs[1] and len(set(outs[0].values())) > 1
    processor: Any = AutoProcessor.from_pretrained(model)
    blip: Any = BlipForConditionalGeneration.from_pretrained(model).eval()
    for name in COLOURS:
        pixels = processor(images=Image.open(coloured / f"{name}.png"), return_tensors="pt").pixel_values
        with torch.no_grad():
            ids = blip.generate(pixel_values=pixels, max_new_tokens=8, do_sample=False)
        assert outs[0][name] == processor.decode(ids[0], skip_special_tokens=True).strip()


def test_a_picture_is_put_on_a_white_square_with_blue_first() -> None:
    wide = np.zeros((20, 40, 3), dtype=np.uint8)
    wide[..., 0] = 255
    made = tagger.prepared(wide, SIDE)
    assert made.shape == (1, SIDE, SIDE, 3) and made.dtype == np.float32
    assert made[0, 0, 0].tolist() == [255, 255, 255]
    assert made[0, SIDE // 2, SIDE // 2].tolist() == [0, 0, 255]


@pytest.mark.parametrize(
    ("model", "what", "fix"),
    [
        ("wd14", "SmilingWolf/wd-vit-tagger-v3 is not on this machine", "model.onnx selected_tags.csv"),
        (
            "blip",
            "Salesforce/blip-image-captioning-base is not",
            "download Salesforce/blip-image-captioning-base",
        ),
        ("owner/model", "owner/model is not on this machine", "download owner/model"),
        ("nothing here", "nothing here is no folder", "--model"),
    ],
)
def test_a_model_that_is_not_here_comes_with_the_line_that_gets_it(
    model: str, what: str, fix: str, cli: Cli, coloured: Path, home: Path
) -> None:
    done = cli.process("caption", str(coloured), "--model", model)
    assert done.code == 2 and what in done.err and fix in done.err
    assert not (home / "captions").exists()


def test_a_model_of_the_hubs_cache_is_found_by_its_id(
    cli: Cli, coloured: Path, tmp_path: Path, home: Path
) -> None:
    pytest.importorskip("onnxruntime")
    write_tagger(home / "hub" / "models--SmilingWolf--wd-vit-tagger-v3" / "snapshots" / "0123")
    done = cli.process("caption", str(coloured), "--model", "wd14", "-o", str(tmp_path / "out"))
    assert done.code == 0 and texts(tmp_path / "out") == TAGGED


def test_captions_are_never_written_among_the_pictures(cli: Cli, coloured: Path, tags: Path) -> None:
    before = state(coloured)
    (coloured.parent / "link").symlink_to(coloured / "sub")
    for out in (coloured, coloured / "captions", coloured.parent / "link" / "captions"):
        done = cli.process("caption", str(coloured), "--model", str(tags), "-o", str(out))
        assert done.code == 2 and "only read" in done.err
    assert state(coloured) == before


def test_a_damaged_or_foreign_model_is_refused_with_its_reason(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    with pytest.raises(UserError, match="holds no model"):
        find(str(folder))
    (folder / "config.json").write_text(json.dumps({"model_type": "llama"}))
    with pytest.raises(UserError, match="type llama"):
        find(str(folder))


def test_weights_that_are_pickles_are_not_loaded(cli: Cli, coloured: Path, tmp_path: Path) -> None:
    model = write_blip(tmp_path / "blip")
    (model / "model.safetensors").unlink()
    torch.save({}, model / "pytorch_model.bin")
    done = cli.process("caption", str(coloured), "--model", str(model))
    assert done.code == 2 and "cannot be loaded" in done.err and "Traceback" not in done.err


@pytest.mark.parametrize("broken", ["network", "tags", "other tags"])
def test_a_tagger_whose_files_do_not_fit_is_refused(broken: str, tags: Path) -> None:
    if broken == "network":
        (tags / "model.onnx").write_bytes(b"no network")
    elif broken == "tags":
        (tags / "selected_tags.csv").write_text("a,b\n1,2\n")
    else:
        write_tagger(tags, TAGS[:-1])
    with pytest.raises(UserError):
        tagger.load(tags, 0.35, 0.85)(np.zeros((8, 8, 3), dtype=np.uint8))


def test_without_onnxruntime_the_command_that_installs_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tagger, "find_spec", lambda name: None)
    problem = tagger.obstacle()
    assert problem is not None and "onnxruntime" in problem.fix


def test_a_name_in_a_shard_leads_nowhere_else(tmp_path: Path, home: Path) -> None:
    picture = tmp_path / "p.png"
    Image.new("RGB", (40, 40)).save(picture)
    shards = tmp_path / "shards"
    shards.mkdir()
    raw = picture.read_bytes()
    write_shard(shards / "0.tar", {"a.png": raw, "../../../../../../../../tmp/up.png": raw, "a.b.png": raw})
    out = tmp_path / "out"
    out.mkdir()
    items = [*scan(shards, resolution=64).items, Item(shards, "../up.png", 40, 40, "", "", (64, 64))]
    before = {path for path in tmp_path.rglob("*") if not path.is_relative_to(out)}
    records = list(write_all(items, lambda pixels: "a picture", out, False))
    assert {path for path in tmp_path.rglob("*") if not path.is_relative_to(out)} == before
    assert texts(out) == {"0.tar/a": "a picture"}
    assert records[-1]["failed"] == len(items) - 1


def test_pictures_of_one_stem_have_a_caption_each(tmp_path: Path) -> None:
    folder, out = tmp_path / "p", tmp_path / "out"
    folder.mkdir()
    for name, colour in (("a.png", 0), ("a.jpg", 255)):
        Image.new("RGB", (40, 40), (colour,) * 3).save(folder / name)
    items = scan(folder, resolution=64).items
    list(write_all(items, lambda pixels: str(int(pixels.mean())), out, False))
    found = scan(folder, resolution=64, rules=CaptionRules(folder=str(out))).items
    assert {item.rel: item.caption for item in found} == {"a.jpg": "255", "a.png": "0"}


def test_a_picture_that_cannot_be_read_is_passed_over(tmp_path: Path) -> None:
    folder = tmp_path / "p"
    folder.mkdir()
    Image.new("RGB", (40, 40)).save(folder / "a.png")
    items = scan(folder, resolution=64).items
    (folder / "a.png").write_bytes((folder / "a.png").read_bytes()[:60])
    (record, last) = write_all(items, lambda pixels: "x", tmp_path / "out", False)
    assert record["state"] == "failed" and record["text"] and last["failed"] == 1


def test_a_picture_that_the_model_has_no_words_for_gets_no_file(tmp_path: Path) -> None:
    folder = tmp_path / "p"
    folder.mkdir()
    Image.new("RGB", (40, 40)).save(folder / "a.png")
    (record, last) = write_all(scan(folder, resolution=64).items, lambda pixels: "", tmp_path / "out", False)
    assert record["state"] == "failed" and "no words" in str(record["text"]) and last["written"] == 0
    assert not (tmp_path / "out" / "a.txt").exists()
