"""What is loaded lies in aligned memory of its own: files may differ in their headers, and may change afterwards."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from engine.dataset.cache import TensorCache
from engine.errors import UserError
from engine.families.load import load_family
from engine.models.markers import ZERO_SNR
from engine.tensorfiles.memory import TensorFile, load_tensors, own_module
from tests.run.engine_fakes import child_env
from tests.support.loaded import answers, as_file

ALIGNED = 64
"""Bytes: a cache line, to which torch aligns what it allocates on the CPU."""
FORMS = ("folder", "safetensors", "ckpt")
CHANGED_WHILE_USED = """
import sys
from pathlib import Path
from engine.families.load import load_family
from tests.support.loaded import answers
for base in map(Path, sys.argv[1:]):
    family = load_family(base)
    for file in [base, *base.rglob("*.*")]:
        if file.suffix in (".safetensors", ".ckpt"):
            file.open("wb").close()
    print(base, *sorted(answers(family)), flush=True)
"""


def _stored(file: Path, note: int) -> None:
    """The file again in fp32, with so many more bytes of metadata."""
    with safe_open(file, "pt") as reader:
        metadata = reader.metadata() or {}
    tensors = {name: value.float() for name, value in load_file(file).items()}
    save_file(tensors, file, metadata={**metadata, "note": "x" * note})


def _model(folder: Path, form: str, out: Path, note: int = 0) -> Path:
    """The model in fp32 in one of its forms, below the new folder `out`."""
    if form == "folder":
        base = Path(shutil.copytree(folder, out / "model"))
        for file in base.rglob("*.safetensors"):
            _stored(file, note)
        return base
    file = as_file(folder, out / "model.safetensors")
    _stored(file, note)
    if form == "ckpt":
        pickle = file.with_suffix(".ckpt")
        # A pickle has no metadata to say what the model predicts, and the mark of its schedule alone would be a doubt.
        tensors = {name: value for name, value in load_file(file).items() if name != ZERO_SNR}
        torch.save({"note": "x" * note, "state_dict": tensors}, pickle)
        file.unlink()
        return pickle
    return file


def _unaligned(tensors: dict[str, Tensor]) -> list[str]:
    return [name for name, value in tensors.items() if value.numel() and value.data_ptr() % ALIGNED]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", ["sd1", "sd2-v", "sdxl"])
def test_answers_do_not_depend_on_how_long_the_files_header_is(
    name: str, form: str, narrow_models: dict[str, Path], tmp_path: Path
) -> None:
    found = []
    for note in (0, 20):
        family = load_family(_model(narrow_models[name], form, tmp_path / str(note), note))
        for part in family.parts.values():
            assert not _unaligned({**dict(part.named_parameters()), **dict(part.named_buffers())})
        found.append(answers(family))
    first, second = found
    assert not [key for key in first if not torch.equal(first[key], second[key])]


def test_a_base_that_is_cut_while_it_is_in_use_does_not_matter(sd1_folder: Path, tmp_path: Path) -> None:
    bases = [str(_model(sd1_folder, form, tmp_path / form)) for form in FORMS]
    done = subprocess.run(
        [sys.executable, "-P", "-c", CHANGED_WHILE_USED, *bases],
        capture_output=True,
        text=True,
        env=child_env(),
        check=False,
    )
    assert done.returncode == 0, f"{done.returncode}: {done.stderr}"
    answered = done.stdout.splitlines()
    assert [line.split()[0] for line in answered] == bases
    assert all("prediction" in line for line in answered)
    kinds = (".safetensors", ".ckpt")
    cut = [file for file in tmp_path.rglob("*.*") if file.is_file() and file.suffix in kinds]
    assert len(cut) == 5 and all(file.stat().st_size == 0 for file in cut)


def test_a_files_tensors_and_a_caches_are_aligned(tmp_path: Path) -> None:
    tensors = {
        "half": torch.arange(6.0).half().reshape(2, 3),
        "brain": torch.ones(5, dtype=torch.bfloat16),
        "eighth": torch.ones(3).to(torch.float8_e4m3fn),
        "alpha": torch.tensor(3.5),
        "count": torch.tensor([1, 2], dtype=torch.uint16),
        "flags": torch.tensor([True, False]),
        "empty": torch.zeros(0, 4),
        "complex": torch.tensor([1 + 2j]),
    }
    file = tmp_path / "tensors.safetensors"
    save_file(tensors, file, metadata={"note": "x" * 11})
    found = load_tensors(file)
    assert not _unaligned(found)
    assert {name: (value.dtype, value.shape) for name, value in found.items()} == {
        name: (value.dtype, value.shape) for name, value in tensors.items()
    }
    assert all(found[name].tolist() == value.tolist() for name, value in tensors.items() if name != "eighth")
    assert found["eighth"].float().tolist() == [1.0] * 3
    cache = TensorCache(tmp_path / "cache")
    cache.put("a" * 64, {"one": torch.ones(3), "two": torch.ones(3)})
    kept = cache.get("a" * 64)
    assert kept is not None and not _unaligned(kept)


def test_a_file_that_is_cut_while_it_is_read_is_named(tmp_path: Path) -> None:
    file = tmp_path / "cut.safetensors"
    save_file({"one": torch.ones(5000), "two": torch.ones(5000)}, file)
    opened = TensorFile(file)
    with file.open("r+b") as cut:
        cut.truncate(20_100)
    with pytest.raises(UserError, match=r"cut\.safetensors"):
        opened.read("two")


def test_a_dtype_that_torch_does_not_have_is_named(tmp_path: Path) -> None:
    file = tmp_path / "odd.safetensors"
    save_file({"one": torch.ones(10, dtype=torch.uint8)}, file)
    file.write_bytes(file.read_bytes().replace(b'"U8"', b'"F4"').replace(b"[10]", b"[20]", 1))
    with pytest.raises(UserError, match="F4"):
        load_tensors(file)


def test_shared_weights_stay_shared_and_expanded_buffers_become_whole() -> None:
    module = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    module[1].weight = module[0].weight
    module.register_buffer("ids", torch.arange(3).expand(2, 3))
    before = {name: value.clone() for name, value in module.state_dict().items()}
    assert own_module(module)[1].weight is module[0].weight
    assert module.get_buffer("ids").is_contiguous()
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())
