"""Style LoRA: which blocks train, at which rate, and with which weight they are written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from engine.methods.lora import Lora
from engine.plan.methods.lora import LoraOptions
from tests.support.runs import quick_plan
from tests.support.sessions import Prepared, prepared, run_steps


def _made(base: Path, pictures: Path, tmp_path: Path, **changes: Any) -> Prepared:
    named = {f"style_lora__{name}": value for name, value in changes.items()}
    plan = quick_plan(base, pictures, method="style_lora", train__steps=2, **named)
    return prepared(plan, tmp_path / "cache")


def _paths(made: Prepared) -> set[str]:
    return {item.name.split(".lora_")[0].removeprefix("unet.") for item in made.adapted.trainables}


def test_sdxl_style_is_b_loras_block(narrow_models: dict[str, Path], pictures: Path, tmp_path: Path) -> None:
    for layers, place in (("style", "up_blocks.0.attentions.1."), ("content", "up_blocks.0.attentions.0.")):
        made = _made(narrow_models["sdxl"], pictures, tmp_path, layers=layers)
        assert _paths(made)
        assert all(path.startswith(place) for path in _paths(made))


def test_sd1_style_is_the_decoder(sd1_folder: Path, pictures: Path, tmp_path: Path) -> None:
    made = _made(sd1_folder, pictures, tmp_path)
    blocks = {made.adapted.family.block_of(path) for path in _paths(made)}
    assert blocks == {f"OUT{number:02d}" for number in range(3, 12)}


def test_named_blocks_rates_and_ranks(sd1_folder: Path, pictures: Path, tmp_path: Path) -> None:
    made = _made(
        sd1_folder,
        pictures,
        tmp_path,
        layers="blocks",
        blocks=["IN08", "OUT03-05"],
        block_rates=["OUT03=0.5", "OUT04=0"],
        block_ranks=["OUT05=2"],
        rank=4,
        alpha=8.0,
    )
    family = made.adapted.family
    found: dict[str, set[tuple[float | None, int]]] = {}
    for item in made.adapted.trainables:
        if ".lora_A." in item.name:
            block = family.block_of(item.name.removeprefix("unet.").split(".lora_")[0])
            found.setdefault(block, set()).add((item.learning_rate, item.parameter.shape[0]))
    assert found == {"IN08": {(None, 4)}, "OUT03": {(5e-4, 4)}, "OUT05": {(None, 2)}}
    facts = made.adapted.method.artifact(family).facts
    alphas: Any = facts["alphas"]
    assert set(alphas.values()) == {4.0}, "the effective scale 2 stays at rank 2"


def test_steps_equal_a_lora_on_the_same_layers(
    sd1_folder: Path, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # tests/train/test_reference.py holds LoRA against plain torch; on the same layers style LoRA is that LoRA.
    styled = _made(sd1_folder, pictures, tmp_path, rank=4, alpha=4.0)
    names = sorted(_paths(styled))
    monkeypatch.setattr(Lora, "targets", lambda self, family, part: names)
    plain = prepared(quick_plan(sd1_folder, pictures, train__steps=2), tmp_path / "cache")
    assert isinstance(plain.plan.options, LoraOptions)
    assert [report.loss for report in run_steps(styled)] == [report.loss for report in run_steps(plain)]
    pairs = zip(styled.adapted.trainables, plain.adapted.trainables, strict=True)
    assert all(torch.equal(one.parameter, other.parameter) for one, other in pairs)


def test_block_weights_scale_what_is_written(sd1_folder: Path, pictures: Path, tmp_path: Path) -> None:
    made = _made(sd1_folder, pictures, tmp_path, block_weights=["OUT03=0.5", "OUT04=0"])
    run_steps(made)
    family = made.adapted.family
    written = made.adapted.method.artifact(family).tensors
    for item in made.adapted.trainables:
        name = item.name.replace(".default", "")
        block = family.block_of(name.removeprefix("unet.").split(".lora_")[0])
        if block == "OUT04":
            assert name not in written
        else:
            share = 0.5 if block == "OUT03" and ".lora_B." in name else 1.0
            assert torch.equal(written[name], item.parameter.detach() * share)
