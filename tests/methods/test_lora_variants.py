"""LoHa, LoKr, rank and module dropout, and norms: what each computes, from the files that are written."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import UNet2DConditionModel
from peft import LoHaConfig, LoHaModel, LoKrConfig, LoKrModel
from safetensors.torch import load_file

from engine.errors import UserError
from engine.export.base import ModelFacts
from engine.export.registry import export
from engine.families.single_file import read_single_file
from engine.train.setup import load_plan_family
from tests.export.tiny_models import request
from tests.support.runs import quick_plan
from tests.support.sessions import Prepared, prepared, run_steps, weights


def _made(base: Path, pictures: Path, tmp_path: Path, **changes: Any) -> Prepared:
    named = {f"lora__{name}": value for name, value in changes.items()}
    return prepared(quick_plan(base, pictures, train__steps=3, **named), tmp_path / "cache")


def _delta(found: dict[str, torch.Tensor], name: str) -> torch.Tensor:
    """The change of a weight as LyCORIS defines it: Hadamard or Kronecker product times alpha / width."""
    part = {key.removeprefix(f"{name}."): value for key, value in found.items() if key.startswith(f"{name}.")}
    alpha = float(part["alpha"])
    if "hada_w1_a" in part:
        left, right = part["hada_w1_a"] @ part["hada_w1_b"], part["hada_w2_a"] @ part["hada_w2_b"]
        return left * right * alpha / part["hada_w1_b"].shape[0]
    whole = "lokr_w2" in part
    second = part["lokr_w2"] if whole else part["lokr_w2_a"] @ part["lokr_w2_b"]
    first = part["lokr_w1"][..., None, None] if second.dim() == 4 else part["lokr_w1"]
    return torch.kron(first, second) * (1.0 if whole else alpha / part["lokr_w2_b"].shape[0])


@pytest.mark.parametrize("kind", ["loha", "lokr"])
@pytest.mark.parametrize("rank", [2, 64])
def test_the_files_formula_gives_the_trained_change(
    kind: str, rank: int, sd1_folder: Path, pictures: Path, tmp_path: Path
) -> None:
    made = _made(
        sd1_folder, pictures, tmp_path, kind=kind, rank=rank, alpha=3.0, targets="all", text_encoder=True
    )
    run_steps(made)
    assert made.plan.export_formats == ("kohya",)
    out = tmp_path / "one.safetensors"
    artifact = made.adapted.method.artifact(made.adapted.family)
    export("kohya", request(artifact, out, "sd1"))
    found = load_file(out)
    count = 0
    for part, prefix in (("unet", "lora_unet"), ("text_encoder", "lora_te_text_model")):
        for path, module in made.adapted.family.parts[part].named_modules():
            if not hasattr(module, "get_delta_weight"):
                continue
            layer: Any = module
            trained = layer.get_delta_weight("default").detach()
            name = f"{prefix}_{path.removeprefix('text_model.')}".replace(".", "_")
            again = _delta(found, name).reshape(trained.shape)
            assert float((again - trained).abs().max()) < 1e-6, name
            count += 1
    assert count > 50
    with pytest.raises(UserError, match="diffusers layout"):
        export("diffusers", request(artifact, tmp_path / "two.safetensors", "sd1"))


@pytest.mark.parametrize("kind", ["loha", "lokr"])
@pytest.mark.parametrize("rank", [2, 64])
def test_peft_itself_computes_the_same_from_the_file(
    kind: str, rank: int, sd1_folder: Path, pictures: Path, tmp_path: Path
) -> None:
    made = _made(sd1_folder, pictures, tmp_path, kind=kind, rank=rank, alpha=3.0, targets="all")
    run_steps(made)
    family, out = made.adapted.family, tmp_path / "one.safetensors"
    export("kohya", request(made.adapted.method.artifact(family), out, "sd1"))
    found = load_file(out)
    unet = UNet2DConditionModel.from_pretrained(sd1_folder, subfolder="unet", torch_dtype=torch.float32)
    latents, times, words = torch.randn(2, 4, 8, 8), torch.tensor([10, 900]), torch.randn(2, 77, 96)
    with torch.no_grad():
        plain = unet(latents, times, words).sample
    names = {path.replace(".", "_"): path for path, _ in unet.named_modules()}
    targets = sorted({names[key.partition(".")[0].removeprefix("lora_unet_")] for key in found})
    # The file's alpha is its width, so that the strength is 1: a LoKr of whole matrices ignores alpha elsewhere.
    config = LoHaConfig if kind == "loha" else LoKrConfig
    model_class = LoHaModel if kind == "loha" else LoKrModel
    client = model_class(unet, config(r=rank, alpha=rank, target_modules=targets), "default")
    state = client.state_dict()
    given = {
        f"model.{names[module.removeprefix('lora_unet_')]}.{tensor}.default": value
        for module, _, tensor in (key.partition(".") for key in found)
        for value in [found[f"{module}.{tensor}"]]
        if tensor != "alpha"
    }
    assert given.keys() == {name for name in state if ".hada_" in name or ".lokr_" in name}
    client.load_state_dict({**state, **given})
    with torch.no_grad():
        theirs = client.eval()(latents, times, words).sample
        ours = family.denoiser.eval()(latents, times, words).sample
    assert float((ours - theirs).abs().max()) < 1e-5
    assert float((ours - plain).abs().max()) > 1e-4


@pytest.mark.parametrize("kind", ["loha", "lokr"])
def test_a_change_starts_at_nothing_and_follows_from_the_seed(
    kind: str, small_sd1: Path, pictures: Path, tmp_path: Path
) -> None:
    changes = {"kind": kind, "rank_dropout": 0.3, "module_dropout": 0.3}
    first = _made(small_sd1, pictures, tmp_path, **changes)
    for module in first.adapted.family.denoiser.modules():
        if hasattr(module, "get_delta_weight"):
            layer: Any = module
            assert float(layer.get_delta_weight("default").abs().max()) == 0
    torch.rand(9)
    second = _made(small_sd1, pictures, tmp_path, **changes)
    losses = [report.loss for report in run_steps(first)]
    torch.rand(9)
    assert [report.loss for report in run_steps(second)] == losses
    one, other = weights(first), weights(second)
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_max_norm_holds_every_layers_change(small_sd1: Path, pictures: Path, tmp_path: Path) -> None:
    limit = 1e-3
    free = _made(small_sd1, pictures, tmp_path, targets="all", alpha=8.0)
    held = _made(small_sd1, pictures, tmp_path, targets="all", alpha=8.0, max_norm=limit)
    for made in (free, held):
        run_steps(made)
    norms = []
    for made in (free, held):
        layers: list[Any] = [
            layer for layer in made.adapted.family.denoiser.modules() if hasattr(layer, "get_delta_weight")
        ]
        norms.append(max(float(layer.get_delta_weight("default").norm()) for layer in layers))
    assert norms[0] > 2 * limit, "without it they are longer"
    assert norms[1] <= limit * (1 + 1e-4)


def test_block_rates_scale_the_rate_and_leave_out(sd1_folder: Path, pictures: Path, tmp_path: Path) -> None:
    rates = ["IN01=0.5", "OUT03-11=0", "BASE=0"]
    made = _made(sd1_folder, pictures, tmp_path, block_rates=rates, text_encoder=True)
    found: dict[str, set[float | None]] = {}
    for item in made.adapted.trainables:
        assert item.name.startswith("unet."), "the text encoder is BASE"
        block = made.adapted.family.block_of(item.name.removeprefix("unet.").split(".lora_")[0])
        found.setdefault(block, set()).add(item.learning_rate)
    rate = made.plan.train.learning_rate
    assert found.pop("IN01") == {rate / 2}
    assert found and set(map(frozenset, found.values())) == {frozenset({None})}
    assert not any(block in found for block in ("OUT03", "OUT11"))


def test_block_ranks_keep_the_effective_scale(sd1_folder: Path, pictures: Path, tmp_path: Path) -> None:
    for rslora in (False, True):
        made = _made(
            sd1_folder, pictures, tmp_path, rank=4, alpha=8.0, block_ranks=["OUT03=16"], rslora=rslora
        )
        seen: set[tuple[int, float]] = set()
        for layer in made.adapted.family.denoiser.modules():
            if hasattr(layer, "lora_A"):
                adapted: Any = layer
                seen.add((adapted.r["default"], round(adapted.scaling["default"], 6)))
        scale = round(8 / math.sqrt(4), 6) if rslora else 2.0
        assert seen == {(4, scale), (16, scale)}


@pytest.mark.parametrize("kind", ["lora", "loha", "lokr"])
def test_a_merged_model_is_the_base_plus_the_weighed_change(
    kind: str, sd1_folder: Path, pictures: Path, tmp_path: Path
) -> None:
    changes = {
        "kind": kind,
        "rank": 2,
        "alpha": 3.0,
        "targets": "all",
        "text_encoder": True,
        "merge_weight": 0.5,
    }
    made = _made(sd1_folder, pictures, tmp_path, **changes)
    run_steps(made)
    family, out = made.adapted.family, tmp_path / "merged.safetensors"
    asked = replace(
        request(made.adapted.method.artifact(family), out, "sd1"),
        model=ModelFacts("sd1", "epsilon", family.configs),
        dtype=torch.float32,
        base=lambda: load_plan_family(made.plan),
    )
    export("merged", asked)
    found = read_single_file(out).parts
    count = 0
    for part in ("unet", "text_encoder"):
        for path, module in family.parts[part].named_modules():
            if not hasattr(module, "get_delta_weight"):
                continue
            layer: Any = module
            wanted = layer.get_base_layer().weight + 0.5 * layer.get_delta_weight("default")
            name = f"{path}.weight"
            got = found[part].get(name, found[part].get(f"text_model.{name}"))
            assert got is not None
            assert float((got - wanted).detach().abs().max()) < 1e-6
            count += 1
    assert count > 50
