"""A pickled checkpoint gives tensors or an error; nothing in it runs."""

import io
import pickle
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch

from engine.errors import UserError
from engine.families.single_file import read_single_file
from engine.models.detect import detect


class _Trap:
    """Unpickling this creates the file, where the loader lets it."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> Any:
        return (Path.touch, (self.target,))


def test_nothing_in_a_pickle_is_executed(tmp_path: Path) -> None:
    target, file = tmp_path / "executed", tmp_path / "evil.ckpt"
    file.write_bytes(pickle.dumps({"state_dict": _Trap(target)}))
    with pytest.raises(UserError, match="more than weights"):
        detect(file)
    with pytest.raises(UserError, match="more than weights"):
        read_single_file(file)
    torch.save({"state_dict": {"a": _Trap(target)}}, file)
    with pytest.raises(UserError, match="more than weights"):
        read_single_file(file)
    assert not target.exists()


def test_a_zip_that_unpacks_to_more_than_it_holds_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "bomb.ckpt"
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", b"\0" * 10_000_000)
    with pytest.raises(UserError, match="refused"):
        detect(file)


@pytest.mark.parametrize("keep", [0.999, 0.5, 0.1])
def test_a_cut_ckpt_is_an_error_by_name(keep: float, tmp_path: Path) -> None:
    memory = io.BytesIO()
    torch.save({"state_dict": {f"w{index}": torch.zeros(100) for index in range(9)}}, memory)
    raw = memory.getvalue()
    file = tmp_path / "cut.ckpt"
    file.write_bytes(raw[: int(len(raw) * keep)])
    with pytest.raises(UserError, match=r"cut\.ckpt"):
        read_single_file(file)
