"""Training from tar shards equals training from the same pictures in a folder, bit for bit, and so does its resume."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from engine.plan.schema import Plan
from engine.train import checkpoint, encoded_table
from engine.train.encoded_table import EncodedTable
from engine.train.feeding import DataFeed
from engine.train.latents import LatentTable
from tests.support.pictures import write_conditions, write_pictures
from tests.support.runs import new_run, quick_plan, work_to_end
from tests.support.sessions import Prepared, prepared, run_steps, weights
from tests.support.shards import pack, write_shard

pytestmark = pytest.mark.usefixtures("home")

METHODS: dict[str, dict[str, object]] = {
    "lora": {"data__flip": True, "lora__dropout": 0.1},
    "full": {"data__cache_latents": "off", "data__cache_text": "off"},
    "scratch": {"scratch__stages": ["32:2", "64:2"]},
    "controlnet": {"controlnet__condition": "canny"},
}


@pytest.fixture
def both(tmp_path: Path) -> tuple[Path, Path]:
    """The same seven pictures, two of them wide, in a folder and in two shards."""
    pictures = write_pictures(tmp_path / "pictures", count=7, wide=2)
    return pictures, pack(pictures, tmp_path / "shards", (3, 4))


def made(base: Path, data: Path, cache: Path, method: str = "lora", **changes: object) -> Prepared:
    return prepared(_plan(base, data, method, **changes), cache)


def _plan(base: Path, data: Path, method: str, **changes: object) -> Plan:
    asked = {"train__steps": 4, "data__caption_dropout": 0.3, **METHODS[method], **changes}
    return quick_plan(base, data, method=method, **asked)


def _equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("method", METHODS)
def test_losses_and_weights_are_those_of_the_folder(
    method: str, both: tuple[Path, Path], small_sd1: Path, tmp_path: Path
) -> None:
    pictures, shards = both
    folder = made(small_sd1, pictures, tmp_path / "one", method)
    packed = made(small_sd1, shards, tmp_path / "two", method)
    assert packed.report.items[0].span is not None
    assert [report.loss for report in run_steps(packed)] == [report.loss for report in run_steps(folder)]
    assert _equal(weights(packed), weights(folder))


def test_conditions_in_the_samples_train_as_a_folder_of_them_does(small_sd1: Path, tmp_path: Path) -> None:
    pictures = write_pictures(tmp_path / "pictures", count=4)
    conditions = write_conditions(pictures, tmp_path / "conditions")
    members: dict[str, bytes | str] = {}
    for file in sorted(pictures.glob("*.png")):
        members[file.name] = file.read_bytes()
        members[f"{file.stem}.condition.webp"] = (conditions / f"{file.stem}.webp").read_bytes()
        members[f"{file.stem}.txt"] = file.with_suffix(".txt").read_text()
    shard = write_shard(tmp_path / "shards" / "0.tar", members)
    own = {"controlnet__condition": "files"}
    packed = made(small_sd1, shard, tmp_path / "one", "controlnet", **own)
    path = {"controlnet__condition_path": str(conditions)}
    folder = made(small_sd1, pictures, tmp_path / "two", "controlnet", **own, **path)
    assert [report.loss for report in run_steps(packed)] == [report.loss for report in run_steps(folder)]


def test_a_resumed_training_from_shards_is_bit_equal(
    both: tuple[Path, Path], small_sd1: Path, tmp_path: Path
) -> None:
    straight = made(small_sd1, both[1], tmp_path / "cache")
    losses = [report.loss for report in run_steps(straight)]
    first = made(small_sd1, both[1], tmp_path / "cache")
    run_steps(first, until=2)
    state = {"loop": first.loop.state()}
    trained, optimizer = first.adapted.trainables, first.loop.optimizer
    saved, _ = checkpoint.save(tmp_path / "checkpoints", 2, trained, optimizer, state)
    second = made(small_sd1, both[1], tmp_path / "other")
    loaded = checkpoint.load(saved, second.adapted.trainables, second.loop.optimizer)
    second.loop.restore(loaded["loop"])
    assert [report.loss for report in run_steps(second, start=2)] == losses[2:]
    assert _equal(weights(second), weights(straight))


def test_rows_that_do_not_fit_into_memory_are_read_for_each_batch(
    both: tuple[Path, Path], small_sd1: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    resident = made(small_sd1, both[1], tmp_path / "one")
    monkeypatch.setattr(encoded_table, "RESIDENT_BYTES", 0)
    read = made(small_sd1, both[1], tmp_path / "two")
    for session, kept in ((resident, True), (read, False)):
        assert isinstance(session.feed, DataFeed) and isinstance(session.feed.latents, LatentTable)
        table = session.feed.latents._rows
        assert isinstance(table, EncodedTable) and table.resident is kept
    # A damaged file and a missing one are made again in the middle of the training.
    damaged, gone, *_ = sorted((tmp_path / "two").glob("*/*.safetensors"))
    damaged.write_bytes(damaged.read_bytes()[:-1])
    gone.unlink()
    assert [report.loss for report in run_steps(read)] == [report.loss for report in run_steps(resident)]
    assert _equal(weights(read), weights(resident))


def test_a_whole_run_from_a_pattern_trains_and_writes_its_files(
    both: tuple[Path, Path], small_sd1: Path, tmp_path: Path
) -> None:
    pictures, shards = both
    view = work_to_end(new_run(_plan(small_sd1, shards / "{00000..00001}.tar", "lora")))
    folder = made(small_sd1, pictures, tmp_path / "cache")
    assert list(view.steps.loss) == [report.loss for report in run_steps(folder)]
    assert view.exports
