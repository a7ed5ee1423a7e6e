"""Hypernetwork: its steps equal plain torch in diffusers' UNet, the base stays, and dropout is keyed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from engine.draws import generator
from engine.train import checkpoint
from tests.methods.plain import Plain, samples
from tests.support.pictures import write_pictures
from tests.support.runs import quick_plan
from tests.support.sessions import prepared, run_steps, weights

SEED, RATE = 7, 1e-3


def _plan(base: Path, pictures: Path, **changes: Any) -> Any:
    own = {
        "method": "hypernetwork",
        "data__caption_dropout": 0.0,
        "train__learning_rate": RATE,
        "seed": SEED,
        "hypernetwork__activation": "relu",
    }
    return quick_plan(base, pictures, **{**own, **changes})


def _networks(widths: list[int]) -> dict[str, torch.nn.Sequential]:
    """K and V by width, written here: Linear, ReLU, Linear with weights drawn by name."""
    nets = {}
    for width in widths:
        for side in ("k", "v"):
            net = torch.nn.Sequential(
                torch.nn.Linear(width, 2 * width), torch.nn.ReLU(), torch.nn.Linear(2 * width, width)
            )
            for name, value in net.named_parameters():
                draw = generator(SEED, "init", f"hypernetwork.{width}.{side}.linear.{name}")
                value.data = (
                    torch.randn(value.shape, generator=draw) * 0.01
                    if value.ndim > 1
                    else torch.zeros_like(value)
                )
            nets[f"{width}.{side}"] = net
    return nets


def _insert(unet: Any, nets: dict[str, torch.nn.Sequential]) -> None:
    """Replace what to_k and to_v are given, by wrapping them."""

    class Wrapped(torch.nn.Module):
        def __init__(self, inner: torch.nn.Module, net: torch.nn.Module) -> None:
            super().__init__()
            self.inner, self.net = inner, net

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            out: torch.Tensor = self.inner(x + self.net(x))
            return out

    for name, module in list(unet.named_modules()):
        if name.endswith((".attn1", ".attn2")):
            width = module.to_k.in_features
            module.to_k = Wrapped(module.to_k, nets[f"{width}.k"])
            module.to_v = Wrapped(module.to_v, nets[f"{width}.v"])


def test_steps_equal_plain_torch(small_sd1: Path, tmp_path: Path) -> None:
    folder = write_pictures(tmp_path / "pictures", count=5)
    made = prepared(_plan(small_sd1, folder, train__steps=3), tmp_path / "cache")
    losses, gradients = [], []
    for (report,) in made.loop.run(0, lambda step: True):
        losses.append(report.loss)
        gradients.append({item.name: item.parameter.grad.clone() for item in made.adapted.trainables})  # type: ignore[union-attr]
    orders = [[int(row) for row in made.feed.order.batch(index)] for index in range(3)]

    plain = Plain.load(small_sd1, SEED)
    for part in (plain.unet, plain.encoder):
        part.requires_grad_(False).eval()
    widths = sorted(
        {m.to_k.in_features for n, m in plain.unet.named_modules() if n.endswith(("attn1", "attn2"))}
    )
    nets = _networks(widths)
    _insert(plain.unet, nets)
    named = {f"{net}.linear.{name}": value for net in nets for name, value in nets[net].named_parameters()}
    decayed = [value for value in named.values() if value.ndim > 1]
    rest = [value for value in named.values() if value.ndim == 1]
    optimizer = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": 0.01}, {"params": rest, "weight_decay": 0.0}],
        lr=RATE,
        fused=True,
    )
    for step, order in enumerate(orders, 1):
        optimizer.zero_grad()
        loss = plain.loss(step, samples(folder, order))
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(list(named.values()), 1.0)
        optimizer.step()
        assert abs(float(loss) - losses[step - 1]) < 1e-6
        ours = gradients[step - 1]
        assert len(ours) == len(named)
        for name, value in named.items():
            assert value.grad is not None
            assert float((ours[f"hypernetwork.{name}"] - value.grad).abs().max()) < 1e-6, name


def test_every_attention_of_a_chosen_width_takes_part(
    small_sd1: Path, pictures: Path, tmp_path: Path
) -> None:
    for both in (True, False):
        plan = _plan(small_sd1, pictures, hypernetwork__self_attention=both)
        made = prepared(plan, tmp_path / "cache")
        layers = made.adapted.family.attention_layers()
        wanted = {str(layer.width) for layer in layers if layer.cross or both}
        assert {item.name.split(".")[1] for item in made.adapted.trainables} == wanted
        for layer in layers:
            module: Any = layer.module
            assert bool(module.to_k._forward_pre_hooks) is (str(layer.width) in wanted)


@pytest.mark.parametrize("kind", ["KaimingUniform", "KaimingNormal", "XavierUniform", "XavierNormal"])
def test_initialisations_follow_from_the_seed_alone(
    kind: str, small_sd1: Path, pictures: Path, tmp_path: Path
) -> None:
    plan = _plan(small_sd1, pictures, hypernetwork__initialization=kind, hypernetwork__activation="swish")
    first = weights(prepared(plan, tmp_path / "cache"))
    torch.rand(5)
    second = weights(prepared(plan, tmp_path / "cache"))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_resume_with_dropout_is_bit_exact(small_sd1: Path, pictures: Path, tmp_path: Path) -> None:
    plan = _plan(small_sd1, pictures, hypernetwork__dropout=[0.0, 0.3, 0.1], train__steps=4)
    straight, first, second = (prepared(plan, tmp_path / "cache") for _ in range(3))
    losses = [report.loss for report in run_steps(straight)]
    run_steps(first, until=2)
    saved, _ = checkpoint.save(
        tmp_path / "kept", 2, first.adapted.trainables, first.loop.optimizer, {"loop": first.loop.state()}
    )
    state = checkpoint.load(saved, second.adapted.trainables, second.loop.optimizer)
    second.loop.restore(state["loop"])
    assert [report.loss for report in run_steps(second, start=2)] == losses[2:]
    one, other = weights(straight), weights(second)
    assert all(torch.equal(one[name], other[name]) for name in one)
