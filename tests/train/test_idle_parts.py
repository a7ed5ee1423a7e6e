"""Parts that wait on the CPU: they come when they are asked for, leave again, and are the same bits each time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from engine.train.idle_parts import IdleParts
from engine.train.opening import open_training
from tests.support.runs import quick_plan
from tests.support.sessions import Warnings

CPU = torch.device("cpu")


def bits(part: nn.Module) -> list[torch.Tensor]:
    return [value.data for value in (*part.parameters(), *part.buffers())]


def same(one: list[torch.Tensor], other: list[torch.Tensor]) -> bool:
    return [value.data_ptr() for value in one] == [value.data_ptr() for value in other]


def test_a_part_comes_for_as_long_as_somebody_needs_it() -> None:
    part, other = nn.BatchNorm2d(3), nn.Linear(2, 2)
    home, kept = bits(part), bits(other)
    idle = IdleParts({"vae": part, "unet": other}, {"vae", "no such part"}, CPU)
    assert idle.away == {"vae"}
    with idle.here("vae", "unet"):
        assert not same(bits(part), home) and same(bits(other), kept)
        assert all(torch.equal(one, two) for one, two in zip(bits(part), home, strict=True))
        with idle.here("vae"):
            pass
        assert idle.away == set()
    assert same(bits(part), home) and idle.away == {"vae"}
    with idle.staying():
        with idle.here("vae"):
            first = bits(part)
        with idle.here("vae"):
            assert same(bits(part), first)
    assert same(bits(part), home) and idle.away == {"vae"}


def test_a_part_leaves_after_an_error_too() -> None:
    part = nn.Linear(2, 2)
    home = bits(part)
    idle = IdleParts({"vae": part}, {"vae"}, CPU)
    with pytest.raises(torch.OutOfMemoryError), idle.here("vae"):
        raise torch.OutOfMemoryError
    assert same(bits(part), home)


@pytest.mark.parametrize(
    ("changes", "idle"),
    [
        ({}, {"vae", "text_encoder"}),
        ({"lora__text_encoder": True}, {"vae"}),
        ({"data__shuffle_tags": True, "data__random_crop": True}, set()),
        ({"hardware__idle_parts": "keep"}, set()),
        ({"hardware__idle_parts": "auto"}, set()),
    ],
)
def test_nothing_is_used_while_it_is_away(
    changes: dict[str, object], idle: set[str], sd1_folder: Path, pictures: Path, tmp_path: Path
) -> None:
    plan = quick_plan(
        sd1_folder,
        pictures,
        **{"hardware__idle_parts": "cpu", "train__steps": 1, "samples__steps": 1} | changes,
    )
    with open_training(plan, watch=Warnings(), cache=tmp_path / "cache", checked=True) as training:
        parts, used = training.adapted.idle, []
        assert parts.names == idle

        def forward(name: str) -> Any:
            def hook(*_: object) -> None:
                assert name not in parts.away
                used.append(name)

            return hook

        loaded: Any = training.adapted.family.parts
        loaded["text_encoder"].register_forward_pre_hook(forward("text_encoder"))
        loaded["vae"].decoder.register_forward_pre_hook(forward("vae"))
        training.train()
        training.preview()
        assert set(used) == {"vae", "text_encoder"}
        assert parts.away == idle
