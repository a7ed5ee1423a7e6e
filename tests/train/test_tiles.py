"""Tiles: whole where a function looks at one place alone, near where it looks around, and only as large as asked."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from engine.families.load import load_family
from engine.train import autoencoder
from engine.train.autoencoder import Autoencoder
from engine.train.idle_parts import IdleParts
from engine.train.tiles import in_tiles, starts

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("length", "wanted"), [(5, [0]), (64, [0]), (65, [0, 1]), (128, [0, 48, 64]), (160, [0, 48, 96])]
)
def test_tiles_cover_a_side(length: int, wanted: list[int]) -> None:
    assert starts(length, 64, 16) == wanted


@pytest.mark.parametrize(("up", "down"), [(1, 1), (8, 1), (1, 8)])
def test_what_looks_at_one_place_alone_comes_out_whole(up: int, down: int) -> None:
    whole = torch.rand(1, 2, 72, 128)

    def function(piece: Tensor) -> Tensor:
        return (
            functional.interpolate(piece, scale_factor=up, mode="nearest")
            if up > 1
            else functional.avg_pool2d(piece, down)
        )

    made = in_tiles(function, whole, 64, 16, up, down)
    assert torch.allclose(made, function(whole), atol=1e-6)


def _autoencoder(base: Path, tiling: str, said: list[str]) -> Autoencoder:
    family = load_family(base)
    family.parts["vae"].float()
    return Autoencoder(
        family, IdleParts(family.parts, (), CPU), CPU, tiling, lambda code, text: said.append(code)
    )


def test_pictures_one_by_one_are_the_pictures_together(sd1_folder: Path) -> None:
    made, pixels = _autoencoder(sd1_folder, "auto", []), torch.rand(3, 3, 64, 64) * 2 - 1
    mean, std = made.encode(pixels)
    one = made.encode(pixels[1:2])
    assert torch.equal(mean[1:2], one[0]) and torch.equal(std[1:2], one[1])
    assert torch.equal(made.decode(mean)[1:2], made.decode(mean[1:2]))


def test_memory_that_runs_out_makes_tiles_and_is_told_once(
    sd1_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(autoencoder, "TILE", 8)
    monkeypatch.setattr(autoencoder, "OVERLAP", 2)
    said: list[str] = []
    made, plain = _autoencoder(sd1_folder, "auto", said), _autoencoder(sd1_folder, "off", said)
    latents = torch.randn(2, 4, 16, 12, generator=torch.Generator().manual_seed(0))
    whole = plain.decode(latents)
    real = made.family.decode_latents

    def small(row: Tensor) -> Tensor:
        if max(row.shape[-2:]) > 8:
            raise torch.OutOfMemoryError
        return real(row)

    for each in (made, plain):
        monkeypatch.setattr(each.family, "decode_latents", small)
    tiled = made.decode(latents)
    assert said == ["decode-in-tiles"]
    assert tiled.shape == whole.shape
    assert float((tiled - whole).abs().mean()) < 0.1
    with pytest.raises(torch.OutOfMemoryError):
        plain.decode(latents)


def test_encoding_in_tiles_is_near_and_asked_for(sd1_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(autoencoder, "TILE", 8)
    monkeypatch.setattr(autoencoder, "OVERLAP", 2)
    pixels = torch.rand(1, 3, 128, 96, generator=torch.Generator().manual_seed(0)) * 2 - 1
    whole, tiled = (_autoencoder(sd1_folder, tiling, []).encode(pixels) for tiling in ("decode", "both"))
    assert whole[0].shape == tiled[0].shape
    assert 0 < float((whole[0] - tiled[0]).abs().mean() / whole[0].std()) < 0.2
