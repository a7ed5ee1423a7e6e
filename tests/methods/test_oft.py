"""OFT: what it computes, that it keeps lengths, and that the files which readers take hold the same."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import UNet2DConditionModel
from safetensors.torch import load_file
from torch import Tensor, nn

from engine.cost.machine import Machine
from engine.export.base import ModelFacts
from engine.export.registry import export
from engine.families.single_file import read_single_file
from engine.methods.oft import Rotated, beyond_identity
from engine.models.specs import FAMILIES
from engine.plan.methods.context import BaseShape
from engine.planning.check import check
from engine.train.setup import load_plan_family
from tests.export.tiny_models import request
from tests.support.plans import make_plan
from tests.support.runs import quick_plan
from tests.support.sessions import Prepared, prepared, run_steps


def _made(base: Path, pictures: Path, tmp_path: Path, **changes: Any) -> Prepared:
    named = {f"lora__{name}": value for name, value in ({"kind": "oft", "rank": 8} | changes).items()}
    return prepared(quick_plan(base, pictures, train__steps=3, **named), tmp_path / "cache")


def _rotated(weight: Tensor, blocks: Tensor, strength: float = 1.0) -> Tensor:
    """ComfyUI's OFTAdapter.calculate_weight (comfy/weight_adapter/oft.py) for alpha 0, written out block by block."""
    side = blocks.shape[1]
    one, found = torch.eye(side), []
    for number, block in enumerate(blocks):
        q = block - block.T
        r = (one + q) @ torch.linalg.inv(one - q)
        rows = weight[number * side : (number + 1) * side]
        found.append(torch.einsum("nm,n...->m...", r, rows))
    return weight + strength * (torch.cat(found) - weight)


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("kind", ["linear", "convolution"])
def test_a_layer_answers_as_one_with_a_rotated_weight(kind: str, bias: bool) -> None:
    torch.manual_seed(0)
    linear = kind == "linear"
    base = nn.Linear(6, 12, bias=bias) if linear else nn.Conv2d(6, 12, 3, 2, 1, bias=bias)
    x = torch.randn(2, 5, 6) if linear else torch.randn(2, 6, 7, 7)
    layer = Rotated(base, 5)
    assert layer.oft_blocks.shape == (3, 4, 4), "5 divides no 12 outputs: 4 does"
    assert torch.equal(layer(x), base(x)), "it begins as it was"
    with torch.no_grad():
        layer.oft_blocks.normal_(std=0.3)
        weight = _rotated(base.weight, layer.oft_blocks)
        expected = (
            nn.functional.linear(x, weight, base.bias)
            if linear
            else nn.functional.conv2d(x, weight, base.bias, 2, 1)
        )
        assert torch.allclose(layer(x), expected, atol=1e-5)
        assert torch.allclose(weight.flatten(1).T @ weight.flatten(1), _gram(base.weight), atol=1e-4)
        assert not torch.allclose(weight, base.weight, atol=0.1)


def _gram(weight: Tensor) -> Tensor:
    """Angles and lengths of a weight's columns, which no rotation of its outputs changes."""
    return weight.flatten(1).T @ weight.flatten(1)


def test_a_rotation_by_little_is_more_than_none_in_bf16() -> None:
    torch.manual_seed(0)
    layer = Rotated(nn.Linear(8, 8, bias=False), 8)
    x = torch.randn(64, 8)
    with torch.no_grad():
        layer.oft_blocks.normal_(std=1e-3)
        exact = layer(x) - layer.base_layer(x)
        layer.base_layer.bfloat16()
        with torch.autocast("cpu", torch.bfloat16):
            answer = layer.base_layer(x.bfloat16())
            turn = beyond_identity(layer.oft_blocks).bfloat16()
            rounded = layer._turned(turn, answer).float()
    assert float((rounded - exact).norm() / exact.norm()) < 0.02


def test_gradients_are_those_of_the_formula() -> None:
    torch.manual_seed(0)
    layer = Rotated(nn.Linear(6, 8), 4).double()
    layer.base_layer.requires_grad_(False)
    x = torch.randn(3, 6, dtype=torch.float64)
    with torch.no_grad():
        layer.oft_blocks.normal_(std=0.2)
    (layer(x).float() ** 2).sum().backward()
    found = layer.oft_blocks.grad
    assert found is not None

    base: Any = layer.base_layer

    def loss(blocks: Tensor) -> float:
        weight = _rotated(base.weight.float(), blocks.float())
        return float((nn.functional.linear(x.float(), weight, base.bias.float()) ** 2).sum())

    blocks = layer.oft_blocks.detach()
    for place in itertools.islice(itertools.product(range(2), range(4), range(4)), 0, 32, 5):
        step = torch.zeros_like(blocks)
        step[place] = 1e-2
        slope = (loss(blocks + step) - loss(blocks - step)) / 2e-2
        assert slope == pytest.approx(float(found[place]), rel=0.02, abs=0.02)


def test_the_file_holds_what_the_model_became(sd1_folder: Path, pictures: Path, tmp_path: Path) -> None:
    """A plain UNet whose weights are rotated by ComfyUI's formula from the file answers as the trained one does."""
    made = _made(sd1_folder, pictures, tmp_path, targets="all", conv_rank=2, block_ranks=["OUT03=16"])
    run_steps(made)
    assert made.plan.export_formats == ("kohya",)
    family, file = made.adapted.family, tmp_path / "one.safetensors"
    export("kohya", request(made.adapted.method.artifact(family), file, "sd1"))
    found = load_file(file)
    unet = UNet2DConditionModel.from_pretrained(sd1_folder, subfolder="unet", torch_dtype=torch.float32)
    draw = torch.Generator().manual_seed(3)
    given = (
        torch.randn(2, 4, 8, 8, generator=draw),
        torch.tensor([10, 900]),
        torch.randn(2, 77, 96, generator=draw),
    )
    with torch.no_grad():
        before = unet(*given).sample
        names = {path.replace(".", "_"): module for path, module in unet.named_modules()}
        stems = {key.partition(".")[0] for key in found}
        for stem in stems:
            module: Any = names[stem.removeprefix("lora_unet_")]
            assert float(found[f"{stem}.alpha"]) == 0.0, "no reader holds the rotation back"
            module.weight.copy_(_rotated(module.weight, found[f"{stem}.oft_blocks"]))
        assert len(found) == 2 * len(stems) == 2 * len(made.adapted.trainables)
        after = unet(*given).sample
        ours = family.denoiser.eval()(*given).sample
    assert float((ours - after).abs().max()) < 1e-5
    assert float((ours - before).abs().max()) > 1e-4
    sides = {value.shape[-1] for key, value in found.items() if key.endswith(".oft_blocks")}
    assert {2, 8, 16} <= sides


def test_a_merged_model_is_rotated_by_the_weight_that_is_asked_for(
    sd1_folder: Path, pictures: Path, tmp_path: Path
) -> None:
    made = _made(sd1_folder, pictures, tmp_path, targets="all", merge_weight=0.5)
    run_steps(made)
    family, file = made.adapted.family, tmp_path / "merged.safetensors"
    asked = replace(
        request(made.adapted.method.artifact(family), file, "sd1"),
        model=ModelFacts("sd1", "epsilon", family.configs),
        dtype=torch.float32,
        base=lambda: load_plan_family(made.plan),
    )
    export("merged", asked)
    stored, count = read_single_file(file).parts["unet"], 0
    for path, module in family.denoiser.named_modules():
        if isinstance(module, Rotated):
            wanted = _rotated(module.weight.detach(), module.oft_blocks.detach(), 0.5)
            assert float((stored[f"{path}.weight"] - wanted).abs().max()) < 1e-6
            count += 1
    assert count == len(made.adapted.trainables) > 50


@pytest.mark.parametrize(
    "saving", [{"hardware__gradient_checkpointing": True}, {"hardware__swapped_blocks": 100}]
)
def test_what_saves_memory_changes_no_bit(
    saving: dict[str, Any], small_sd1: Path, pictures: Path, tmp_path: Path
) -> None:
    asked = {"lora__kind": "oft", "lora__targets": "all", "train__steps": 3}
    losses = [
        [
            report.loss
            for report in run_steps(prepared(quick_plan(small_sd1, pictures, **asked, **more), tmp_path))
        ]
        for more in ({}, saving)
    ]
    assert losses[0] == losses[1]


def test_it_learns_around_a_base_in_eight_bits(small_sd1: Path, pictures: Path, tmp_path: Path) -> None:
    asked = {"lora__kind": "oft", "hardware__base_weights": "int8", "train__steps": 3}
    made = prepared(quick_plan(small_sd1, pictures, **asked), tmp_path)
    run_steps(made)
    layers = [layer for layer in made.adapted.family.denoiser.modules() if isinstance(layer, Rotated)]
    assert layers and all(type(layer.base_layer).__name__ == "QuantisedLinear" for layer in layers)
    assert all(bool(layer.oft_blocks.any()) for layer in layers)


def test_numbers_are_counted(sd1_folder: Path, pictures: Path, tmp_path: Path) -> None:
    made = _made(sd1_folder, pictures, tmp_path, targets="all", conv_rank=2)
    config = made.adapted.family.configs["unet"]
    shape = BaseShape("sd1", config, FAMILIES["sd1"].layers(config), (), 0)
    numbers = sum(item.parameter.numel() for item in made.adapted.trainables)
    assert numbers == made.plan.options.trained_parameters(shape, "")


WRONG: list[tuple[dict[str, object], str]] = [
    ({"lora__text_encoder": True}, "lora.text_encoder"),
    ({"lora__dora": True}, "lora.dora"),
    ({"lora__dropout": 0.1}, "lora.dropout"),
    ({"lora__rank_dropout": 0.1}, "lora.rank_dropout"),
    ({"lora__module_dropout": 0.1}, "lora.module_dropout"),
    ({"lora__plus_ratio": 2.0}, "lora.plus_ratio"),
    ({"lora__max_norm": 1.0}, "lora.max_norm"),
    ({"lora__targets": "all", "lora__conv_alpha": 2.0}, "lora.conv_alpha"),
    ({"output__formats": ["diffusers"]}, "output.formats"),
]


@pytest.mark.parametrize(("changes", "key"), WRONG, ids=lambda value: str(value)[:50])
def test_what_a_rotation_has_not_is_refused(
    changes: dict[str, object], key: str, pictures: Path, no_gpu: Machine
) -> None:
    found = check(make_plan(pictures, lora__kind="oft", **changes), here=no_gpu)
    assert [(problem.key, problem.level) for problem in found] == [(key, "error")]


def test_alpha_means_nothing_to_it(pictures: Path, no_gpu: Machine) -> None:
    plan = make_plan(pictures, lora__kind="oft", lora__rank=2, lora__alpha=900.0)
    assert check(plan, here=no_gpu) == []
    assert plan.options.effective_scale is None and "lora.alpha" in plan.idle
