"""The shorter ways through a model are the libraries' own, bit for bit, and are taken."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from engine.train import setup
from engine.train.direct_forward import shorten, shorter
from engine.train.opening import open_training
from engine.train.training import Training
from tests.support.runs import quick_plan

ALL = {"lora__targets": "all", "lora__alpha": 3.0, "lora__text_encoder": True}
PLANS: dict[str, dict[str, object]] = {
    "lora": {},
    "lora on all layers, strength 3/4": ALL,
    "lora on all layers in bf16": {**ALL, "train__precision": "bf16"},
    "lora in bf16 with bf16 weights": {**ALL, "train__precision": "bf16", "train__weights": "bf16"},
    "lora checkpointed": {"hardware__gradient_checkpointing": True},
    "lora on a quantised base": {"hardware__base_weights": "int8", "train__precision": "bf16"},
    "dora": {"lora__dora": True},
    "dropout": {"lora__dropout": 0.2},
    "loha": {"lora__kind": "loha"},
    "full": {"method": "full", "train__learning_rate": 1e-4},
    "hypernetwork": {"method": "hypernetwork"},
    "controlnet": {"method": "controlnet", "train__precision": "bf16", "controlnet__condition": "canny"},
}


def opened(base: Path, pictures: Path, changes: dict[str, object]) -> Training:
    plan = quick_plan(base, pictures, **{"train__steps": 3, "samples__steps": 2, **changes})
    return open_training(plan)


def modules(made: Training) -> list[nn.Module]:
    parts = [*made.adapted.family.parts.values(), *made.adapted.method.modules().values()]
    return list({id(each): each for part in parts for each in part.modules()}.values())


@pytest.mark.parametrize("name", PLANS)
def test_training_and_previews_have_the_libraries_bits(
    name: str, sd1_folder: Path, pictures: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = opened(sd1_folder, pictures, PLANS[name])
    assert any(type(each) in shorter().values() for each in modules(ours))
    monkeypatch.setattr(setup, "shorten", lambda module: None)
    theirs = opened(sd1_folder, pictures, PLANS[name])
    assert not any(type(each) in shorter().values() for each in modules(theirs))

    for one, other in zip(ours.train(), theirs.train(), strict=True):
        assert (one.loss, one.grad_norm) == (other.loss, other.grad_norm)
    for mine, its in zip(ours.adapted.trainables, theirs.adapted.trainables, strict=True):
        assert torch.equal(mine.parameter, its.parameter), mine.name
    assert (np.asarray(ours.preview()) == np.asarray(theirs.preview())).all()


def test_every_block_of_a_denoiser_with_a_lora_goes_the_shorter_way(
    sd1_folder: Path, pictures: Path, home: Path
) -> None:
    made = opened(sd1_folder, pictures, ALL)
    kinds = Counter(type(each) for each in made.adapted.family.denoiser.modules())
    for library, direct in shorter().items():
        assert kinds[library] == 0, library
        assert kinds[direct] > 0, direct
        # Regional compilation and block swap go by the name.
        assert direct.__name__ == library.__name__
    assert len(made.adapted.family.blocks_to_swap()) == sum(
        kinds[direct]
        for direct in shorter().values()
        if direct.__name__ in ("BasicTransformerBlock", "ResnetBlock2D")
    )


def test_what_masks_or_rescales_stays_as_it_is() -> None:
    from diffusers.models.attention_processor import Attention

    for odd in (
        {"rescale_output_factor": 2.0},
        {"residual_connection": True},
        {"norm_num_groups": 2},
        {"dropout": 0.1},
    ):
        layer = Attention(8, heads=2, dim_head=4, **odd)
        shorten(layer)
        assert type(layer) is Attention, odd

    torch.manual_seed(0)
    layer = Attention(8, heads=2, dim_head=4)
    x = torch.randn(2, 3, 8)
    mask = torch.zeros(2, 1, 3)
    mask[:, :, 2] = -10_000.0
    expected = layer(x, attention_mask=mask)
    shorten(layer)
    assert type(layer) is shorter()[Attention]
    assert torch.equal(layer(x, attention_mask=mask), expected)
    assert not torch.equal(layer(x), expected)


def test_a_worker_imports_neither_library_before_it_loads_a_model() -> None:
    """peft brings bitsandbytes, which writes to the log where nobody has told it to be quiet."""
    code = "import engine.worker.session, sys; print([name for name in ('peft', 'diffusers') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
