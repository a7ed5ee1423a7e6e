"""A hypernetwork's `.pt`: A1111's dict to the letter, in the old layout, and its effect recomputed from the file."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch

from engine.export.registry import export
from engine.methods.hypernetwork import ACTIVATIONS, Residual
from engine.methods.registry import make_method
from tests.export.tiny_models import request
from tests.support.pictures import write_pictures
from tests.support.runs import quick_plan
from tests.support.sessions import Prepared, prepared, run_steps


def _trained(base: Path, folder: Path, activation: str) -> Prepared:
    plan = quick_plan(
        base,
        write_pictures(folder / "pictures", count=2),
        method="hypernetwork",
        train__steps=2,
        hypernetwork__activation=activation,
        hypernetwork__dropout=[0.0, 0.2, 0.1],
    )
    made = prepared(plan, folder / "cache")
    run_steps(made)
    return made


def _apply(sd: dict[str, torch.Tensor], activation: str, x: torch.Tensor) -> torch.Tensor:
    """x + linear(x) as readers build it: layers at their numbers, an activation at the numbers between."""
    layers = sorted({int(name.split(".")[1]) for name in sd})
    y = x
    for place, index in enumerate(layers):
        y = y @ sd[f"linear.{index}.weight"].T + sd[f"linear.{index}.bias"]
        if activation != "linear" and place < len(layers) - 1:
            assert layers[place + 1] == index + 2, "an activation has a number of its own"
            y = ACTIVATIONS[activation]()(y)
    return x + y


@pytest.mark.parametrize("activation", ["linear", "relu", "swish"])
def test_the_file_does_what_was_trained(activation: str, small_sd1: Path, tmp_path: Path) -> None:
    made = _trained(small_sd1, tmp_path, activation)
    artifact = made.adapted.method.artifact(made.adapted.family)
    out = tmp_path / "style.pt"
    done = export("a1111_hypernetwork", request(artifact, out, "sd1"))
    assert done.tensors == len(artifact.tensors)
    assert not zipfile.is_zipfile(out), "A1111 refuses torch's new zip entries"
    found = torch.load(out, weights_only=True)
    pairs: Any = made.adapted.method.modules()["hypernetwork"]
    pairs.eval()
    widths = [name for name in found if isinstance(name, int)]
    assert sorted(widths) == sorted(int(width) for width in pairs)
    for width in widths:
        x = torch.randn(2, 5, width)
        for side, sd in zip(("k", "v"), found[width], strict=True):
            trained: Residual = pairs[str(width)][side]
            assert float((_apply(sd, activation, x) - trained(x)).abs().max()) < 1e-6


def test_readers_find_every_entry_they_ask_for(small_sd1: Path, tmp_path: Path) -> None:
    made = _trained(small_sd1, tmp_path, "relu")
    out = tmp_path / "style.pt"
    export("a1111_hypernetwork", request(made.adapted.method.artifact(made.adapted.family), out, "sd1"))
    found = torch.load(out, weights_only=True)
    meta = {name: value for name, value in found.items() if isinstance(name, str)}
    assert meta.pop("sd_checkpoint_name")
    assert "sdtrain.plan_hash" in json.loads(meta.pop("optional_info"))
    assert isinstance(meta.pop("step"), int)
    assert isinstance(meta.pop("sd_checkpoint"), str | None)
    assert isinstance(meta.pop("name"), str)
    assert meta == {
        "layer_structure": [1, 2, 1],
        "activation_func": "relu",
        "is_layer_norm": False,
        "weight_initialization": "Normal",
        "activate_output": False,
        "use_dropout": False,
        "dropout_structure": None,
        "last_layer_dropout": False,
    }


def test_the_registry_makes_the_method(small_sd1: Path, pictures: Path) -> None:
    plan = quick_plan(small_sd1, pictures, method="hypernetwork")
    assert type(make_method(plan)).__name__ == "Hypernetwork"
