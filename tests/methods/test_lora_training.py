"""LoRA+, convolutions of their own rank, and dropout of ranks and modules: each by its formula, and nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import StableDiffusionPipeline
from torch import nn

from engine.cost.machine import Machine
from engine.export.registry import export
from engine.methods.lora_dropout import drop_ranks
from engine.models.specs import FAMILIES
from engine.plan.methods.context import BaseShape
from engine.planning.check import check
from engine.train import checkpoint
from tests.export.tiny_models import request
from tests.support.plans import make_plan
from tests.support.runs import quick_plan
from tests.support.sessions import Prepared, prepared, run_steps, weights

RATE = 1e-3


def _made(base: Path, pictures: Path, tmp_path: Path, steps: int = 3, **changes: Any) -> Prepared:
    named = {f"lora__{name}": value for name, value in changes.items()}
    return prepared(quick_plan(base, pictures, train__steps=steps, **named), tmp_path / "cache")


def _layers(made: Prepared) -> dict[str, Any]:
    found = made.adapted.family.denoiser.named_modules()
    return {path: layer for path, layer in found if hasattr(layer, "lora_A")}


@pytest.mark.parametrize("text", [False, True])
def test_lora_plus_gives_the_upper_halves_a_multiple_of_the_rate(
    text: bool, small_sd1: Path, pictures: Path, tmp_path: Path
) -> None:
    """Hayou et al. 2024 (arXiv:2402.12354): the rate of B is lambda times that of A."""
    plain, plus = (
        _made(small_sd1, pictures, tmp_path, plus_ratio=ratio, text_encoder=text) for ratio in (1.0, 4.0)
    )
    for item in plus.adapted.trainables:
        part = RATE / 2 if item.module == "text_encoder" else RATE
        rate = RATE if item.learning_rate is None else item.learning_rate
        assert rate == (4 * part if ".lora_B." in item.name else part)
    assert {item.learning_rate for item in plain.adapted.trainables} == ({None, RATE / 2} if text else {None})
    start = weights(plus)
    (first,), (expected,) = run_steps(plus, until=1), run_steps(plain, until=1)
    assert first.lr == expected.lr == RATE, "a step's event has the plan's rate"
    assert (first.loss, first.grad_norm) == (expected.loss, expected.grad_norm)
    ours, theirs = weights(plus), weights(plain)
    for name, value in theirs.items():
        if ".lora_B." in name:  # from zero, where nothing decays
            assert torch.allclose(ours[name], 4 * value, rtol=1e-5, atol=1e-9), name
        else:
            assert torch.equal(ours[name], value), name
            assert not torch.equal(value, start[name]), "it decays"


def test_block_rates_multiply_both_halves(sd1_folder: Path, pictures: Path, tmp_path: Path) -> None:
    made = _made(sd1_folder, pictures, tmp_path, plus_ratio=4.0, block_rates=["IN01=0.5"])
    seen = {
        item.learning_rate
        for item in made.adapted.trainables
        if made.adapted.family.block_of(item.name.removeprefix("unet.").split(".lora_")[0]) == "IN01"
    }
    assert seen == {RATE / 2, 2 * RATE}


@pytest.mark.parametrize("rslora", [False, True])
def test_convolutions_have_a_rank_and_a_strength_of_their_own(
    rslora: bool, sd1_folder: Path, pictures: Path, tmp_path: Path
) -> None:
    own: dict[str, Any] = {"rank": 4, "alpha": 8.0, "targets": "all", "conv_rank": 2, "rslora": rslora}
    made = _made(sd1_folder, pictures, tmp_path, **own, conv_alpha=3.0, block_ranks=["OUT03=8"])
    kept = _made(sd1_folder, pictures, tmp_path, **own)
    root = 2**0.5
    scales = {True: (3 / root, 4.0), False: (1.5, 2.0)}[rslora]
    count = 0
    for path, layer in _layers(made).items():
        kernel = getattr(layer.get_base_layer(), "kernel_size", (1, 1))
        rank = layer.lora_A["default"].weight.shape[0]
        if made.adapted.family.block_of(path) == "OUT03":
            assert rank == 8
        else:
            assert rank == (2 if kernel == (3, 3) else 4), path
        scale = scales[0] if kernel == (3, 3) else scales[1]
        assert layer.scaling["default"] == pytest.approx(scale), path
        count += kernel == (3, 3)
        kept_layer = _layers(kept)[path]
        assert kept_layer.scaling["default"] == pytest.approx(scales[1]), "without an alpha the scale stays"
    assert count > 10


def test_files_of_two_ranks_do_in_diffusers_what_was_trained(
    sd1_folder: Path, pictures: Path, tmp_path: Path
) -> None:
    own: dict[str, Any] = {"rank": 4, "alpha": 8.0, "targets": "all", "conv_rank": 2, "conv_alpha": 3.0}
    made = _made(sd1_folder, pictures, tmp_path, **own)
    run_steps(made)
    family, draw = made.adapted.family, torch.Generator().manual_seed(3)
    given = (
        torch.randn(2, 4, 8, 8, generator=draw),
        torch.tensor([10, 900]),
        torch.randn(2, 77, 96, generator=draw),
    )
    with torch.no_grad():
        wanted = family.denoiser.eval()(*given).sample
    for form in ("kohya", "diffusers"):
        file = tmp_path / f"{form}.safetensors"
        export(form, request(made.adapted.method.artifact(family), file, "sd1"))
        theirs = StableDiffusionPipeline.from_pretrained(sd1_folder, torch_dtype=torch.float32)
        with torch.no_grad():
            before = theirs.unet(*given).sample
            theirs.load_lora_weights(str(tmp_path), weight_name=file.name)
            found = theirs.unet(*given).sample
        assert float((found - wanted).abs().max()) < 1e-5, form
        assert float((found - before).abs().max()) > 1e-4, form


def test_numbers_are_counted_by_rank(sd1_folder: Path, pictures: Path, tmp_path: Path) -> None:
    changes: dict[str, Any] = {"rank": 16, "targets": "all", "conv_rank": 2}
    made = _made(sd1_folder, pictures, tmp_path, **changes)
    config = made.adapted.family.configs["unet"]
    shape = BaseShape("sd1", config, FAMILIES["sd1"].layers(config), (), 0)
    found = sum(item.parameter.numel() for item in made.adapted.trainables)
    assert found == made.plan.options.trained_parameters(shape, "")


class _Adapted(nn.Module):
    """One layer as peft adapts it."""

    def __init__(self, lower: nn.Module, upper: nn.Module) -> None:
        super().__init__()
        self.lora_A, self.lora_B = nn.ModuleDict({"default": lower}), nn.ModuleDict({"default": upper})
        self.lora_dropout = nn.ModuleDict({"default": nn.Identity()})

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.lora_B["default"](self.lora_A["default"](x))  # type: ignore[no-any-return]


@pytest.mark.parametrize("kind", ["linear", "words", "convolution"])
def test_ranks_are_dropped_a_picture_and_the_rest_made_stronger(kind: str) -> None:
    """networks/lora.py of kohya's scripts: lx * (rand(b, r) > p) / (1 - p), then up."""
    torch.manual_seed(0)
    conv = kind == "convolution"
    layer = _Adapted(
        nn.Conv2d(3, 8, 3, bias=False) if conv else nn.Linear(3, 8, bias=False),
        nn.Conv2d(8, 5, 1, bias=False) if conv else nn.Linear(8, 5, bias=False),
    )
    x = {"linear": torch.randn(6, 3), "words": torch.randn(6, 7, 3), "convolution": torch.randn(6, 3, 5, 5)}[
        kind
    ]
    lower, upper = layer.lora_A["default"](x), layer.lora_B["default"]
    plain = upper(lower)
    drop_ranks(layer, "default", 0.4, 0.0)
    torch.manual_seed(5)
    found = layer(x)
    torch.manual_seed(5)
    mask = (torch.rand(6, 8) >= 0.4).float() / 0.6
    mask = mask.view(6, 8, 1, 1) if conv else mask.view(6, *([1] * (x.ndim - 2)), 8)
    assert torch.allclose(found, upper(lower * mask), atol=1e-6)
    assert 0 < int((mask == 0).sum()) < 48
    assert torch.equal(layer.eval()(x), plain), "nothing is dropped where nothing trains"


def test_a_module_is_dropped_whole_and_never_made_stronger() -> None:
    torch.manual_seed(0)
    layer = _Adapted(nn.Linear(3, 8, bias=False), nn.Linear(8, 5, bias=False))
    x = torch.randn(6, 3)
    plain = layer(x)
    drop_ranks(layer, "default", 0.0, 0.3)
    dropped = 0
    for seed in range(400):
        torch.manual_seed(seed)
        found = layer(x)
        dropped += not found.any()
        assert not found.any() or torch.equal(found, plain)
    assert 85 < dropped < 155, "about three tenths"


DROPS: dict[str, dict[str, Any]] = {
    "ranks": {"rank_dropout": 0.5},
    "modules": {"module_dropout": 0.5},
    "both, and inputs": {"rank_dropout": 0.3, "module_dropout": 0.3, "dropout": 0.1, "targets": "all"},
}


@pytest.mark.parametrize("name", DROPS)
def test_what_drops_resumes_bit_for_bit_and_checkpointing_sees_the_same(
    name: str, small_sd1: Path, pictures: Path, tmp_path: Path
) -> None:
    def made(**more: object) -> Prepared:
        named = {f"lora__{key}": value for key, value in DROPS[name].items()}
        plan = quick_plan(small_sd1, pictures, train__steps=6, **named, **more)
        return prepared(plan, tmp_path / "cache")

    straight, first, second = made(), made(), made()
    losses = [report.loss for report in run_steps(straight)]
    torch.rand(9)
    run_steps(first, until=3)
    state = {"loop": first.loop.state()}
    saved, _ = checkpoint.save(tmp_path / "at", 3, first.adapted.trainables, first.loop.optimizer, state)
    torch.rand(5)
    second.loop.restore(checkpoint.load(saved, second.adapted.trainables, second.loop.optimizer)["loop"])
    assert [report.loss for report in run_steps(second, start=3)] == losses[3:]
    ours, theirs = weights(second), weights(straight)
    assert all(torch.equal(ours[key], theirs[key]) for key in theirs)
    again = made(hardware__gradient_checkpointing=True)
    assert [report.loss for report in run_steps(again)] == pytest.approx(losses, rel=1e-5)
    plain = prepared(quick_plan(small_sd1, pictures, train__steps=6), tmp_path / "cache")
    without = [report.loss for report in run_steps(plain)]
    assert without[0] == losses[0] and without[1:] != losses[1:], "the first change is none"


def test_lora_plus_resumes_bit_for_bit(small_sd1: Path, pictures: Path, tmp_path: Path) -> None:
    def made() -> Prepared:
        return _made(small_sd1, pictures, tmp_path, steps=6, plus_ratio=16.0, text_encoder=True)

    straight, first, second = made(), made(), made()
    losses = [report.loss for report in run_steps(straight)]
    run_steps(first, until=3)
    state = {"loop": first.loop.state()}
    saved, _ = checkpoint.save(tmp_path / "at", 3, first.adapted.trainables, first.loop.optimizer, state)
    second.loop.restore(checkpoint.load(saved, second.adapted.trainables, second.loop.optimizer)["loop"])
    assert [report.loss for report in run_steps(second, start=3)] == losses[3:]
    ours, theirs = weights(second), weights(straight)
    assert all(torch.equal(ours[key], theirs[key]) for key in theirs)


WRONG: list[tuple[dict[str, object], str, str]] = [
    ({"lora__conv_rank": 8}, "lora.conv_rank", "warning"),
    ({"lora__conv_alpha": 8.0}, "lora.conv_alpha", "warning"),
    (
        {"lora__targets": "all", "lora__kind": "loha", "lora__rank": 8, "lora__conv_alpha": 8.0},
        "lora.conv_alpha",
        "error",
    ),
    ({"lora__targets": "all", "lora__conv_rank": 4, "lora__conv_alpha": 64.0}, "lora.conv_alpha", "warning"),
    ({"lora__kind": "lokr", "lora__plus_ratio": 4.0}, "lora.plus_ratio", "error"),
    ({"lora__dora": True, "lora__rank_dropout": 0.1}, "lora.rank_dropout", "error"),
    ({"lora__dora": True, "lora__module_dropout": 0.1}, "lora.module_dropout", "error"),
]


@pytest.mark.parametrize(("changes", "key", "level"), WRONG, ids=lambda value: str(value)[:60])
def test_what_does_not_go_together_is_named(
    changes: dict[str, object], key: str, level: str, pictures: Path, no_gpu: Machine
) -> None:
    found = check(make_plan(pictures, **changes), here=no_gpu)
    assert [(problem.key, problem.level) for problem in found] == [(key, level)]
    assert found[0].what and found[0].why and found[0].fix


def test_what_goes_together_raises_nothing(pictures: Path, no_gpu: Machine) -> None:
    plan = make_plan(
        pictures,
        lora__targets="all",
        lora__conv_rank=8,
        lora__conv_alpha=4.0,
        lora__plus_ratio=16.0,
        lora__rank_dropout=0.1,
        lora__module_dropout=0.1,
    )
    assert check(plan, here=no_gpu) == []
    assert not {"lora.conv_rank", "lora.conv_alpha", "lora.plus_ratio"} & plan.idle
    attention = make_plan(pictures, lora__kind="loha")
    assert {"lora.conv_rank", "lora.conv_alpha", "lora.plus_ratio", "lora.factor"} <= attention.idle
