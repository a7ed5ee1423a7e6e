"""A frozen base in fewer bits: what is kept, what it computes, what flows through it, and what is left alone."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from engine.plan.schema import Plan
from engine.planning.check import check
from engine.tensorfiles.memory import load_tensors
from engine.train.opening import open_training
from engine.train.quantised import FORMS, QuantisedLinear, quantise
from engine.train.setup import load_plan_family
from engine.train.training import Training
from engine.train.watch import Watch
from tests.methods.test_table import ROWS
from tests.support.runs import quick_plan
from tests.support.sessions import Warnings

# The most by which weights drawn from a normal law move, of their norm; bytes that a weight of 1280 x 1280 takes.
FORM_LIMITS = {"int8": (0.01, 1.01), "fp8": (0.03, 1.01), "nf4": (0.1, 0.57)}
# The least cosine and the most distance, of its norm, of what a LoRA does to predictions, against one of a full base.
EFFECT = {"int8": (0.999, 0.05), "fp8": (0.99, 0.15), "nf4": (0.95, 0.3)}


@pytest.mark.parametrize("kind", FORMS)
def test_a_layer_computes_with_what_it_keeps_and_gives_its_gradient_on(kind: str) -> None:
    torch.manual_seed(0)
    layer, seen = nn.Linear(1280, 1280), []
    layer.requires_grad_(False)
    layer.register_forward_pre_hook(lambda *_: seen.append(1))
    before = layer.weight.clone()
    net = nn.Sequential(layer, nn.Linear(1280, 4))
    assert quantise(net, ["0", "1", "elsewhere"], kind) == 1280 * 1280
    assert isinstance(layer, QuantisedLinear) and type(net[1]) is nn.Linear, "what trains stays"
    most, width = FORM_LIMITS[kind]
    kept = layer.restored(torch.float32)
    assert 0 < float((kept - before).norm() / before.norm()) < most
    size = sum(value.numel() * value.element_size() for value in layer.buffers())
    assert size < width * before.numel() + 4 * len(FORMS)
    assert (
        layer.weight.is_meta
        and layer.weight.shape == before.shape
        and not layer.state_dict().keys() - {"bias"}
    )
    given = torch.randn(3, 7, 1280, requires_grad=True)
    made = layer(given)
    torch.autograd.backward(made.square().sum())
    other = given.detach().requires_grad_()
    wanted = functional.linear(other, kept, layer.bias)
    torch.autograd.backward(wanted.square().sum())
    assert torch.equal(made, wanted) and seen == [1]
    assert given.grad is not None and other.grad is not None
    assert torch.allclose(given.grad, other.grad, rtol=1e-5, atol=1e-4)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert layer(given).dtype == torch.bfloat16


class Said(Warnings):
    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []

    def warning(self, code: str, text: str) -> None:
        super().warning(code, text)
        self.texts.append(text)


def opened(plan: Plan, cache: Path, watch: Watch | None = None) -> Training:
    torch.set_num_threads(1)
    return open_training(plan, watch=watch or Warnings(), cache=cache, checked=True)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("quantised")


@pytest.fixture(scope="module")
def data(folder: Path) -> Path:
    from tests.support.pictures import write_pictures

    return write_pictures(folder / "pictures", wide=2)


def effect(training: Training) -> Tensor:
    """What the adapter adds to a prediction: with it, less without."""
    family, draw = training.adapted.family, torch.Generator().manual_seed(3)
    noisy, times = torch.randn(2, 4, 8, 8, generator=draw), torch.tensor([100, 700])
    family.denoiser.eval()
    with torch.no_grad():
        cond = family.encode_text(family.tokenize(["a red circle", ""]))
        made = family.denoise(noisy, times, cond, {})
        ups = [item.parameter for item in training.adapted.trainables if ".lora_B." in item.name]
        kept = [value.clone() for value in ups]
        for value in ups:
            value.zero_()
        plain = family.denoise(noisy, times, cond, {})
        for value, old in zip(ups, kept, strict=True):
            value.copy_(old)
    family.denoiser.train()
    return made - plain


@pytest.fixture(scope="module")
def full(sd1_folder: Path, folder: Path, data: Path) -> Tensor:
    with opened(quick_plan(sd1_folder, data), folder / "cache") as training:
        training.train()
        return effect(training)


@pytest.mark.parametrize("kind", FORMS)
def test_a_lora_learns_alike_resumes_exactly_and_is_exported_alone(
    kind: str, sd1_folder: Path, folder: Path, data: Path, tmp_path: Path, full: Tensor
) -> None:
    plan = quick_plan(
        sd1_folder, data, hardware__base_weights=kind, samples__steps=2, output__formats=["kohya", "merged"]
    )
    said = Said()
    with opened(plan, folder / "cache", said) as training:
        assert said.codes == ["quantised-base"]
        assert f"kept in {kind}" in said.texts[0] and "predictions differ by" in said.texts[0]
        denoiser = training.adapted.family.denoiser
        for path, module in denoiser.named_modules():
            if isinstance(module, QuantisedLinear):
                assert "attn" in path or ".ff." in path
        assert type(denoiser.get_submodule("time_embedding.linear_1")) is nn.Linear
        training.train(3)
        saved = training.save(tmp_path / "saved")
        training.train()
        straight = {item.name: item.parameter.detach().clone() for item in training.adapted.trainables}
        ours = effect(training)
        cosine = float(functional.cosine_similarity(ours.flatten(), full.flatten(), dim=0))
        least, most = EFFECT[kind]
        assert cosine > least and float((ours - full).norm() / full.norm()) < most
        files = {path.name: path for path in training.export(tmp_path)}
    with opened(plan, folder / "cache") as training:
        training.resume(saved)
        training.train()
        again = {item.name: item.parameter for item in training.adapted.trainables}
        assert all(torch.equal(again[name], value) for name, value in straight.items())
    alone = load_tensors(files["quick.safetensors"])
    assert all(name.startswith("lora_unet_") for name in alone)
    merged = load_tensors(files["quick-merged.safetensors"])
    base: Mapping[str, Tensor] = load_plan_family(plan).denoiser.state_dict()
    key = "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q"
    stem = "lora_unet_" + key.replace(".", "_")
    change = alone[f"{stem}.lora_up.weight"].float() @ alone[f"{stem}.lora_down.weight"].float()
    name = "model.diffusion_model.input_blocks.1.1.transformer_blocks.0.attn1.to_q.weight"
    assert torch.allclose(merged[name].float(), base[f"{key}.weight"].float() + change, atol=2e-3)


@pytest.mark.parametrize(
    ("changes", "key", "words"),
    [
        ({"method": "full"}, "hardware.base_weights", "trains these weights"),
        ({"method": "dreambooth", "data__trigger": "zqx"}, "hardware.base_weights", "trains these weights"),
        (
            {"lora__dora": True, "output__formats": ["diffusers"]},
            "lora.dora",
            "norms of the base's own weights",
        ),
        ({}, "", ""),
        ({"method": "hypernetwork"}, "", ""),
    ],
)
def test_what_a_quantised_base_does_not_go_with_is_an_error(
    changes: dict[str, object], key: str, words: str, sd1_folder: Path, data: Path
) -> None:
    plan = quick_plan(sd1_folder, data, hardware__base_weights="int8", **changes)
    found = [item for item in check(plan) if item.level == "error"]
    assert [item.key for item in found] == ([key] if key else [])
    assert all(words in item.why and item.fix for item in found)


def test_nf4_without_its_package_says_what_to_install(
    sd1_folder: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engine.planning.rules.hardware.find_spec", lambda name: None)
    found = check(quick_plan(sd1_folder, data, hardware__base_weights="nf4"))
    assert [item.fix for item in found if item.level == "error" and "bitsandbytes" in item.fix]


@pytest.mark.parametrize(
    "name", ["style_lora", "textual_inversion", "hypernetwork", "controlnet", "t2i_adapter"]
)
def test_other_methods_learn_through_a_quantised_base(
    name: str, sd1_folder: Path, home: Path, tmp_path: Path
) -> None:
    row = ROWS[name]
    changes = {"hardware__base_weights": "int8", "train__steps": 1, **row.changes}
    for key, value in changes.items():
        changes[key] = value.replace("{folder}", str(tmp_path)) if isinstance(value, str) else value
    plan = quick_plan(sd1_folder, row.data(tmp_path), method=row.method, **changes)
    with opened(plan, home / "cache") as training:
        before = [item.parameter.detach().clone() for item in training.adapted.trainables]
        (report,) = training.train()
        assert report.grad_norm > 0
        after = [item.parameter for item in training.adapted.trainables]
        assert any(not torch.equal(one, two) for one, two in zip(before, after, strict=True))
        layers = training.adapted.family.denoiser.modules()
        assert any(isinstance(layer, QuantisedLinear) for layer in layers)
