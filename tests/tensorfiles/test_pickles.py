"""A pickled checkpoint gives tensors or an error; nothing in it runs."""

import argparse
import collections
import io
import os
import pickle
import sys
import types
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from engine.errors import UserError
from engine.families.single_file import read_single_file
from engine.models.detect import detect
from engine.tensorfiles import pickles


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


def _lightning(monkeypatch: pytest.MonkeyPatch, module: str, name: str, base: type = object) -> type:
    """A class as lightning has it, so that a file can be pickled with its name."""
    parts = module.split(".")
    for end in range(1, len(parts) + 1):
        monkeypatch.setitem(sys.modules, ".".join(parts[:end]), types.ModuleType(parts[end - 1]))
    made = type(name, (base,), {"__module__": module})
    monkeypatch.setattr(sys.modules[module], name, made, raising=False)
    return made


WEIGHTS = {"a": torch.arange(3.0)}


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("name", ["model.ckpt", "model.safetensors", "model.pt"])
def test_what_training_programs_keep_beside_weights_is_passed_over(
    name: str, zipped: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    callback = _lightning(monkeypatch, "pytorch_lightning.callbacks.model_checkpoint", "ModelCheckpoint")
    held = callback()
    held.__dict__["best"] = np.float64(1.5)
    table = _lightning(monkeypatch, "lightning.utilities.parsing", "AttributeDict", dict)(lr=1e-4)
    beside = {
        "callbacks": {callback: {"best": np.float32(1.0)}, "held": held},
        "hyper_parameters": table,
        "epoch": np.int64(3),
        "numbers": [np.arange(3), np.dtype("float16"), np.bool_(True), np.str_("x")],
        "records": [argparse.Namespace(rate=1), Path("x"), collections.defaultdict(int, a=1)],
    }
    file = tmp_path / name
    torch.save({"state_dict": WEIGHTS, **beside}, file, _use_new_zipfile_serialization=zipped)
    assert torch.equal(pickles.load(file)["a"], WEIGHTS["a"])


class _Own:
    pass


class _Asks:
    def __init__(self, call: Any, *given: Any) -> None:
        self.asked = (call, given)

    def __reduce__(self) -> Any:
        return self.asked


@pytest.mark.parametrize(
    ("beside", "named"),
    [
        (_Own(), "_Own"),
        (_Asks(eval, "1"), "eval"),
        (_Asks(os.system, "true"), "system"),
        (_Asks(getattr, "a", "upper"), "getattr"),
        (np.array([_Asks(eval, "1")], dtype=object), "eval"),
    ],
)
def test_anything_else_is_refused_by_its_own_name(beside: Any, named: str, tmp_path: Path) -> None:
    file = tmp_path / "more.ckpt"
    torch.save({"state_dict": WEIGHTS, "more": beside}, file)
    with pytest.raises(UserError) as caught:
        pickles.load(file)
    text = str(caught.value)
    assert named in text and text.isascii() and "\x1b" not in text
    assert "weights_only" not in text and "options" not in text


def test_a_zip_without_its_end_is_said_to_be_cut(tmp_path: Path) -> None:
    file = tmp_path / "cut.ckpt"
    torch.save({"state_dict": WEIGHTS}, file)
    file.write_bytes(file.read_bytes()[:-30])
    with pytest.raises(UserError, match="cut short"):
        pickles.load(file)
