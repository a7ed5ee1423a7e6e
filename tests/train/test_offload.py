"""Blocks that live on the CPU and activations that wait there: few on the device, and gradients bit for bit."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from engine.train import offload
from engine.train.offload import Offload
from engine.train.quantised import quantise

CPU = torch.device("cpu")


class Net(nn.Module):
    """Six frozen blocks of different sizes with a trained layer before and a norm between."""

    def __init__(self, again: bool) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first = nn.Linear(16, 16)
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.Linear(16, 16 * size), nn.GELU(), nn.Linear(16 * size, 16), nn.LayerNorm(16))
            for size in (1, 2, 3, 4, 5, 6)
        )
        self.blocks.requires_grad_(False)
        self.again = again

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        for block in self.blocks:
            x = x + (checkpoint(block, x, use_reentrant=False) if self.again else block(x))
        return x


@contextmanager
def counted(copies: list[int]) -> Iterator[None]:
    real = Offload._fetch

    def fetch(self: Offload, block: offload._Block) -> None:
        copies.extend([block.number] * (not block.here))
        real(self, block)

    Offload._fetch = fetch  # type: ignore[method-assign]
    try:
        yield
    finally:
        Offload._fetch = real  # type: ignore[method-assign]


def gradients(net: Net, made: Offload, passes: int = 3) -> list[Tensor]:
    found = []
    for at in range(passes):
        net.zero_grad()
        given = torch.randn(5, 16, generator=torch.Generator().manual_seed(at))
        with made.saving():
            loss = net(given).square().mean()
        torch.autograd.backward(loss)
        found += [value.grad.clone() for value in net.first.parameters() if value.grad is not None]
    return found


@pytest.mark.parametrize("again", [False, True])
@pytest.mark.parametrize("kind", ["", "int8"])
@pytest.mark.parametrize("activations", [False, True])
def test_gradients_are_the_same_bits_with_two_blocks_on_the_device(
    again: bool, kind: str, activations: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(offload, "LEAST_BYTES", 0)
    plain, net = Net(again), Net(again)
    for each in (plain, net):
        if kind:
            quantise(each, [f"blocks.{at}.{layer}" for at in range(6) for layer in (0, 2)], kind)
    made, without = Offload(CPU), Offload(CPU)
    made.activations = activations
    made.swap(list(net.blocks), 4)
    assert made.swapped == 4
    home = [value.data_ptr() for value in net.blocks[5].parameters()]
    assert len(made.homeless(net)) == len(list(plain.first.parameters())) + sum(
        len([*block.parameters(), *block.buffers()]) for block in plain.blocks[:2]
    )
    for one, other in zip(gradients(net, made), gradients(plain, without), strict=True):
        assert torch.equal(one, other)
    assert made.most == 2
    with torch.no_grad():
        given = torch.ones(2, 16)
        assert torch.equal(net(given), plain(given))
    net(torch.ones(1, 16))
    assert [value.data_ptr() for value in net.blocks[2].parameters()] != home


@pytest.mark.parametrize("again", [False, True])
def test_a_block_is_copied_once_forward_and_once_backward(again: bool) -> None:
    net, made, copies = Net(again), Offload(CPU), list[int]()
    made.swap(list(net.blocks), 6)
    gradients(net, made, 2)
    with counted(copies):
        gradients(net, made, 1)
    # The first one is there from the pass before; the last one is used forward and backward in turn.
    assert len(copies) <= 11
    assert sorted(set(copies)) == list(range(6))


def _frozen_bits(net: Net) -> list[Tensor]:
    return [value.detach().clone() for value in net.blocks.parameters()]


def test_what_is_swapped_never_changes() -> None:
    net, made = Net(False), Offload(CPU)
    before = _frozen_bits(net)
    made.swap(list(net.blocks), 6)
    gradients(net, made)
    assert all(torch.equal(one, other) for one, other in zip(before, _frozen_bits(net), strict=True))


def test_small_activations_and_what_is_not_asked_for_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    packed: list[object] = []
    real: Callable[[Offload, Tensor], object] = Offload._pack

    def pack(self: Offload, tensor: Tensor) -> object:
        packed.append(real(self, tensor))
        return packed[-1]

    monkeypatch.setattr(Offload, "_pack", pack)
    gradients(Net(False), Offload(CPU), 1)
    assert not packed
    made = Offload(CPU)
    made.activations = True
    gradients(Net(False), made, 1)
    assert packed and not any(isinstance(each, tuple) for each in packed)
