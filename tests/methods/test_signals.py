"""What each method says of its weights at a validation, against a computation of its own."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch

from engine import open_training
from engine.methods.lora import ADAPTER
from engine.methods.oft import Rotated
from engine.train.training import Training
from tests.support.pictures import write_conditions
from tests.support.runs import quick_plan

HELD: dict[str, object] = {"validation__every": 1, "validation__share": 0.34}


def _opened(base: Path, pictures: Path, tmp_path: Path, **changes: Any) -> Training:
    return open_training(
        quick_plan(base, pictures, **HELD, **changes), cache=tmp_path / "cache", checked=True
    )


@torch.no_grad()
def _changes(made: Training) -> dict[str, float]:
    """The norm of each block's change, from the whole matrices."""
    family = made.adapted.family
    squares: dict[str, float] = {}
    for part in ("unet", "text_encoder"):
        for path, layer in family.parts[part].named_modules():
            own: Any = layer
            if isinstance(layer, Rotated):
                skew = (layer.oft_blocks - layer.oft_blocks.transpose(1, 2)).double()
                one = torch.eye(skew.shape[1], dtype=torch.float64)
                change = (one + skew) @ torch.linalg.inv(one - skew) - one
            elif hasattr(layer, "get_delta_weight") and ADAPTER in own.scaling:
                change = own.get_delta_weight(ADAPTER).double()
            else:
                continue
            place = f"norm {family.block_of(path) if part == 'unet' else part}"
            squares[place] = squares.get(place, 0.0) + float(change.square().sum())
    return {place: math.sqrt(square) for place, square in squares.items()}


@pytest.mark.parametrize("kind", ["lora", "dora", "loha", "lokr", "oft"])
@pytest.mark.parametrize("rank", [2, 64])
@torch.no_grad()
def test_a_loras_norm_by_block(
    kind: str, rank: int, sd1_folder: Path, pictures: Path, tmp_path: Path
) -> None:
    changes: dict[str, object] = {
        "lora__kind": "lora" if kind == "dora" else kind,
        "lora__dora": kind == "dora",
        "lora__rank": rank,
        "lora__alpha": 3.0,
        "lora__targets": "all",
        "lora__text_encoder": True,
        "train__learning_rate": 0.01,
    }
    made = _opened(sd1_folder, pictures, tmp_path, **changes)
    first = made.validate().signals
    assert {"norm MID", "norm IN01", "norm text_encoder"} <= first.keys()
    assert all(value == 0 for value in first.values()), "before the first step it changes nothing"
    with torch.enable_grad():
        made.train(2)
    found = made.validate().signals
    assert found == pytest.approx(_changes(made), rel=1e-4)
    assert all(value > 0 for value in found.values())


def test_norms_are_not_rounded_as_the_maths_of_a_step_is(
    small_sd1: Path, pictures: Path, tmp_path: Path
) -> None:
    made = _opened(small_sd1, pictures, tmp_path, train__precision="bf16")
    made.train(2)
    assert made.validate().signals == pytest.approx(_changes(made), rel=1e-5)


def test_a_words_norm_and_its_distance_to_the_start(small_sd1: Path, pictures: Path, tmp_path: Path) -> None:
    changes: dict[str, object] = {
        "method": "textual_inversion",
        "textual_inversion__tokens": ["<a>", "<b>"],
        "textual_inversion__vectors": 2,
        "textual_inversion__keep_norm": False,
        "data__trigger": "<a>",
        "train__learning_rate": 0.05,
        "checkpoints__every": 2,
    }
    made = _opened(small_sd1, pictures, tmp_path, **changes)
    (item,) = made.adapted.trainables
    start = item.parameter.detach().clone()
    first = made.validate().signals
    assert first["distance text_encoder/<a>"] == first["distance text_encoder/<b>"] == 0
    made.train(2)
    rows = item.parameter.detach()
    expected = {
        "norm text_encoder/<a>": rows[:2].norm(dim=1).mean(),
        "distance text_encoder/<a>": (rows[:2] - start[:2]).norm(dim=1).mean(),
        "norm text_encoder/<b>": rows[2:].norm(dim=1).mean(),
        "distance text_encoder/<b>": (rows[2:] - start[2:]).norm(dim=1).mean(),
    }
    found = made.validate().signals
    assert found == pytest.approx({name: float(value) for name, value in expected.items()})
    assert found["distance text_encoder/<a>"] > 0
    # The start is the word's own, and not the checkpoint's, where a run goes on.
    saved = made.save(tmp_path / "saved")
    again = _opened(small_sd1, pictures, tmp_path, **changes)
    again.resume(saved)
    assert again.validate().signals == found


def test_a_word_beside_a_lora_has_its_signals_too(small_sd1: Path, pictures: Path, tmp_path: Path) -> None:
    made = _opened(small_sd1, pictures, tmp_path, lora__word_vectors=2, data__trigger="<zqx>")
    made.train(2)
    found = made.validate().signals
    assert found["norm text_encoder/<zqx>"] > 0 and found["distance text_encoder/<zqx>"] > 0
    assert {name: value for name, value in found.items() if "/" not in name} == pytest.approx(
        _changes(made), rel=1e-4
    )


@pytest.mark.parametrize("method", ["controlnet", "t2i_adapter"])
def test_a_conditions_net_is_measured_against_the_base_alone(
    method: str, sd1_folder: Path, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    conditions = write_conditions(pictures, tmp_path / "conditions")
    made = _opened(
        sd1_folder,
        pictures,
        tmp_path,
        method=method,
        **{f"{method}__condition_path": str(conditions)},
        train__learning_rate=0.01,
    )
    name = "loss without the condition"
    plain = open_training(quick_plan(sd1_folder, pictures, **HELD), cache=tmp_path / "cache", checked=True)
    base = plain.validate().loss  # a LoRA before its first step is the base
    first = made.validate()
    assert first.signals == {name: base}
    if method == "controlnet":
        assert first.loss == base, "its first outputs are zero"
    made.train(2)
    asked = []
    real = made.adapted.family.denoise

    def denoise(*given: Any) -> Any:
        asked.append(bool(given[3]))
        return real(*given)

    monkeypatch.setattr(made.adapted.family, "denoise", denoise)
    found = made.validate()
    assert found.signals == {name: base} and found.loss != base
    assert all(asked), "a base that does not change is measured once"


@pytest.mark.parametrize("method", ["full", "hypernetwork"])
def test_other_methods_have_none(method: str, small_sd1: Path, pictures: Path, tmp_path: Path) -> None:
    assert _opened(small_sd1, pictures, tmp_path, method=method).validate().signals == {}
