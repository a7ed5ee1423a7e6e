"""A run with averages exports them, the last step's own weights, or both, each bit for bit the checkpoint's."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor

from engine.errors import UserError
from engine.families.single_file import read_single_file
from engine.models.keymap_text import with_level
from engine.run.paths import RunDir
from engine.train import checkpoint
from engine.train.exporting import export_all, learned, run_exports
from engine.worker.export import main
from tests.methods.test_table import ROWS
from tests.support.pictures import write_pictures
from tests.support.runs import new_run, quick_plan, work_to_end
from tests.support.sessions import prepared, run_steps, weights

WHOLE: dict[str, dict[str, object]] = {
    "full": {"full__text_encoder": True},
    "dreambooth": {"data__trigger": "zqx", "data__class_prompt": "a circle", "data__class_count": 2},
    "scratch": {"scratch__size": "base"},
}


def _run(base: Path, folder: Path, **changes: object) -> RunDir:
    """A run directory with one checkpoint, and the files that the run's end writes, without its processes."""
    asked = {"train__steps": 3, "train__ema": 0.9, "train__learning_rate": 1e-3, **changes}
    plan = quick_plan(base, write_pictures(folder / "pictures", count=2), **asked)
    run, made = new_run(plan), prepared(plan, folder / "cache")
    run_steps(made)
    ema, state = made.loop.ema, {"loop": made.loop.state()}
    averages = ema.state() if ema is not None else None
    checkpoint.save(run.checkpoints, 3, made.adapted.trainables, made.loop.optimizer, state, averages)
    averaged = made.loop.averaged if ema is not None else None
    export_all(plan, made.adapted, run_exports(run), 3, made.report.items, averaged=averaged)
    return run


def _stored(run: RunDir, name: str, dtype: torch.dtype) -> dict[str, Tensor]:
    """A checkpoint's tensors by part and name, text encoders with `text_model.`, as a file has them."""
    saved, _ = checkpoint.latest(run.checkpoints)
    assert saved is not None
    found = {}
    for key, value in load_file(saved.path / name).items():
        part, _, rest = key.partition(".")
        plain = next(iter(with_level({rest: None}))) if part.startswith("text_encoder") else rest
        found[f"{part}.{plain}"] = value.to(dtype)
    return found


def _in_single_file(path: Path) -> dict[str, Tensor]:
    parts = read_single_file(path).parts
    return {f"{part}.{name}": value for part, state in parts.items() for name, value in state.items()}


def _in_folder(path: Path) -> dict[str, Tensor]:
    parts = {"unet": "diffusion_pytorch_model", "text_encoder": "model"}
    return {
        f"{part}.{name}": value
        for part, file in parts.items()
        for name, value in load_file(path / part / f"{file}.safetensors").items()
    }


def _differing(found: dict[str, Tensor], wanted: dict[str, Tensor]) -> list[str]:
    return [name for name, value in wanted.items() if not torch.equal(found[name], value)]


@pytest.mark.parametrize(("method", "dtype"), [("full", "fp16"), ("dreambooth", "bf16"), ("scratch", "fp32")])
def test_a_whole_model_has_a_file_of_the_averages_and_one_of_the_weights(
    method: str, dtype: str, small_sd1: Path, home: Path, tmp_path: Path
) -> None:
    formats = ["single_file", "diffusers_folder"]
    changes: dict[str, object] = {
        "output__weights": "both", "output__dtype": dtype, "output__formats": formats, **WHOLE[method]
    }  # fmt: skip
    run = _run(small_sd1, tmp_path, method=method, **changes)
    assert {path.name for path in run.exports.iterdir()} == {
        "quick.safetensors",
        "quick-diffusers_folder",
        "quick-raw.safetensors",
        "quick-raw-diffusers_folder",
    }
    kind = {"fp16": torch.float16, "bf16": torch.bfloat16, "fp32": torch.float32}[dtype]
    averages, raw = _stored(run, "averages.safetensors", kind), _stored(run, "weights.safetensors", kind)
    assert len(_differing(averages, raw)) > len(raw) / 2
    for stem, wanted in (("quick", averages), ("quick-raw", raw)):
        assert not _differing(_in_single_file(run.exports / f"{stem}.safetensors"), wanted)
        assert not _differing(_in_folder(run.exports / f"{stem}-diffusers_folder"), wanted)
    with safe_open(str(run.exports / "quick-raw.safetensors"), framework="pt") as file:
        assert file.metadata()["sdtrain.weights"] == "raw"


def test_the_command_writes_the_weights_beside_the_averages_and_neither_twice(
    small_sd1: Path, home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = _run(small_sd1, tmp_path, method="full", output__formats=["single_file"])
    assert [path.name for path in run.exports.iterdir()] == ["quick.safetensors"]
    base = [str(run.path), "--format", "single_file"]
    assert main([*base, "--weights", "raw"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["weights"], Path(said["path"]).name) == ("raw", "quick-raw.safetensors")
    raw = _stored(run, "weights.safetensors", torch.float16)
    assert not _differing(_in_single_file(Path(said["path"])), raw)
    assert main([*base, "--weights", "both", "--step", "3"]) == 0
    names = [Path(json.loads(line)["path"]).name for line in capsys.readouterr().out.splitlines()]
    assert names == ["quick-00000003.safetensors", "quick-00000003-raw.safetensors"]
    taken = ["--out", str(run.exports / names[0])]
    assert main([*base, "--weights", "raw", *taken]) == 2, "a file that is there stays"
    assert main([*base, "--weights", "both", "--out", str(tmp_path / "one.safetensors")]) == 2
    assert "one file" in capsys.readouterr().err


def test_a_finished_run_has_both(home: Path, pictures: Path) -> None:
    changes: dict[str, object] = {"train__ema": 0.9, "output__weights": "both", "train__steps": 2}
    run = new_run(quick_plan("builtin:tiny", pictures, output__formats=["kohya"], **changes))
    assert [Path(done.path).name for done in work_to_end(run).exports] == [
        "quick.safetensors",
        "quick-raw.safetensors",
    ]


def test_a_run_without_averages_has_none_to_export(
    small_sd1: Path, home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = _run(small_sd1, tmp_path, train__ema=0.0, output__weights="both", output__formats=["kohya"])
    assert [path.name for path in run.exports.iterdir()] == ["quick.safetensors"]
    assert main([str(run.path), "--format", "diffusers", "--weights", "ema"]) == 2
    assert "no averaged weights" in capsys.readouterr().err


@pytest.mark.parametrize("name", ROWS)
def test_every_method_hands_over_averages_and_weights(
    name: str, small_sd1: Path, home: Path, tmp_path: Path
) -> None:
    row = ROWS[name]
    changes = {"train__steps": 2, "train__ema": 0.9, **row.changes}
    for key, value in changes.items():
        changes[key] = value.replace("{folder}", str(tmp_path)) if isinstance(value, str) else value
    made = prepared(quick_plan(small_sd1, row.data(tmp_path), method=row.method, **changes), home / "cache")
    run_steps(made)
    ema, trained = made.loop.ema, weights(made)
    assert ema is not None
    averages = {key: value.clone() for key, value in ema.state().items()}
    found = dict(learned(made.adapted, "both", made.loop.averaged))
    assert list(found) == ["ema", "raw"]
    assert [*dict(learned(made.adapted, "raw", made.loop.averaged))] == ["raw"]
    for which, state in (("raw", trained), ("ema", averages)):
        with torch.no_grad():
            for item in made.adapted.trainables:
                item.parameter.copy_(state[item.name])
        wanted = made.adapted.method.artifact(made.adapted.family).tensors
        assert wanted.keys() == found[which].tensors.keys()
        assert not _differing(dict(found[which].tensors), dict(wanted))
    assert _differing(dict(found["ema"].tensors), dict(found["raw"].tensors))


def test_an_unknown_kind_of_weights_is_a_wrong_plan(small_sd1: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"output\.weights"):
        quick_plan(small_sd1, tmp_path, output__weights="average")
