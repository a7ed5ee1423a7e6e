"""A checkpoint folder may hold anything: the newest whole one is found, and what is wrong with the others is said."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

from engine.methods.base import Trainable
from engine.train import checkpoint


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Checkpoints of steps 3 and 6."""
    items = [Trainable("one", torch.nn.Parameter(torch.ones(4)), "unet")]
    optimizer = torch.optim.AdamW([items[0].parameter])
    for step in (3, 6):
        checkpoint.save(tmp_path, step, items, optimizer, {"loop": {}})
    return tmp_path


FILES = json.dumps({"weights.safetensors": {"bytes": 1, "sha256": "x"}})
SHAPES = {
    "empty": b"",
    "list": b"[]",
    "number": b"6",
    "null": b"null",
    "files a list": b'{"step": 6, "files": []}',
    "files null": b'{"step": 6, "files": null}',
    "files a text": b'{"step": 6, "files": "weights.safetensors"}',
    "files a number": b'{"step": 6, "files": 3}',
    "no files": b'{"step": 6, "files": {}}',
    "one file": f'{{"step": 6, "files": {FILES}}}'.encode(),
    "no step": f'{{"files": {FILES}}}'.encode(),
    "deep": b'{"step": 6, "files": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "not UTF-8": b'{"step": 6, "files": {"\xff": 1}}',
    "long number": b'{"step": ' + b"9" * 5_000 + b', "files": {}}',
    "outside": b'{"step": 6, "files": {"../../etc/passwd": {}}}',
}


@pytest.mark.parametrize("name", SHAPES)
def test_an_odd_manifest_means_the_older_checkpoint(name: str, folder: Path) -> None:
    (folder / "step-00000006" / checkpoint.MANIFEST).write_bytes(SHAPES[name])
    saved, broken = checkpoint.latest(folder)
    assert saved is not None
    assert saved.step == 3
    assert len(broken) == 1
    assert "step-00000006" in broken[0]
    assert len(broken[0]) < 300


@pytest.mark.parametrize(
    "name", ["step-²", "step-6x", "step-", "step--6", "step-٦", "step-0x6", "Step-00000009"]
)
def test_a_folder_of_another_name_is_no_checkpoint(name: str, folder: Path) -> None:
    shutil.copytree(folder / "step-00000006", folder / name)
    saved, broken = checkpoint.latest(folder)
    assert saved is not None
    assert (saved.step, broken) == (6, [])


@pytest.mark.parametrize("name", ["step-99999999", "step-00000007", "step-123456789"])
def test_a_copy_under_another_number_is_not_believed_nor_counted(name: str, folder: Path) -> None:
    shutil.copytree(folder / "step-00000003", folder / name)
    saved, broken = checkpoint.latest(folder)
    assert saved is not None
    assert saved.step == 6
    assert "step 3" in broken[0]
    assert [path.name for path in checkpoint.prune(folder, 1)] == ["step-00000003"]
    assert (folder / name).exists(), "what the engine has not written it does not remove"


def test_a_manifest_that_is_a_folder_or_a_link_to_itself_is_none(folder: Path) -> None:
    for number, make in ((7, Path.mkdir), (8, lambda path: path.symlink_to(path))):
        (folder / f"step-{number:08d}").mkdir()
        make(folder / f"step-{number:08d}" / checkpoint.MANIFEST)
    saved, _ = checkpoint.latest(folder)
    assert saved is not None
    assert saved.step == 6


def test_files_of_a_checkpoint_have_one_mode(folder: Path) -> None:
    modes = {path.stat().st_mode & 0o777 for path in (folder / "step-00000006").iterdir()}
    assert len(modes) == 1
