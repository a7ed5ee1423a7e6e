"""A LoRA that was exported and loaded by diffusers does to the model what the trained adapter does."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from engine.export.registry import export
from engine.methods.artifact import Artifact
from tests.export.tiny_models import (
    ATTENTION,
    CONVOLUTIONS,
    EVERYTHING,
    FEED_FORWARD,
    TEXT,
    adapt,
    artifact_of,
    diffusers_log,
    make_parts,
    outputs,
    pipeline,
    request,
    text_parts,
)

LIMIT = 1e-5
FORMS = ("kohya", "diffusers")

Case = tuple[list[str], list[str], dict[str, Any]]
DORA: dict[str, Case] = {
    "dora": (CONVOLUTIONS, TEXT, {"r": 4, "lora_alpha": 6, "use_dora": True}),
    "dora-text-mlp-only": (ATTENTION, ["fc1", "fc2"], {"r": 4, "lora_alpha": 6, "use_dora": True}),
}
CASES: dict[str, Case] = {
    "attention": (ATTENTION, [], {"r": 4, "lora_alpha": 4}),
    "alpha-is-not-rank": (ATTENTION, [], {"r": 4, "lora_alpha": 10}),
    "feed-forward": (FEED_FORWARD, [], {"r": 4, "lora_alpha": 2}),
    "convolutions": (CONVOLUTIONS, [], {"r": 4, "lora_alpha": 3}),
    "whole-unet": (EVERYTHING, [], {"r": 4, "lora_alpha": 3}),
    "text-fc2-only": (ATTENTION, ["fc2"], {"r": 4, "lora_alpha": 6}),
    "rslora": (FEED_FORWARD, TEXT, {"r": 8, "lora_alpha": 3, "use_rslora": True}),
    "with-text-encoder": (ATTENTION, TEXT, {"r": 4, "lora_alpha": 6}),
    "text-q-and-v-only": (ATTENTION, ["q_proj", "v_proj"], {"r": 4, "lora_alpha": 6}),
    "text-mlp-only": (ATTENTION, ["fc1", "fc2"], {"r": 4, "lora_alpha": 6}),
    "text-encoder-only": ([], TEXT, {"r": 4, "lora_alpha": 6}),
    "some-layers": (
        ["down_blocks.1.attentions.0.transformer_blocks.0.attn2.to_k", "attn1.to_v"],
        [],
        {"r": 2},
    ),
    "ranks-and-alphas-differ": (
        FEED_FORWARD,
        TEXT,
        {
            "r": 4,
            "lora_alpha": 6,
            "rank_pattern": {"attn2.to_k": 2, "proj_in": 8, "q_proj": 3},
            "alpha_pattern": {"attn2.to_k": 5, "ff.net.2": 1, "fc1": 2},
        },
    ),
}


def _facts(parts: dict[str, torch.nn.Module], options: dict[str, Any]) -> dict[str, object]:
    alphas = {
        f"{part}.{'text_model.' if part != 'unet' and not name.startswith('text_model') else ''}{name}": float(
            module.lora_alpha["default"]
        )
        for part, model in parts.items()
        for name, module in model.named_modules()
        if hasattr(module, "lora_alpha")
    }
    return {
        "rank": options.get("r", 8),
        "alpha": float(options.get("lora_alpha", 8)),
        "rslora": options.get("use_rslora", False),
        "dora": options.get("use_dora", False),
        "alphas": alphas,
    }


def _round_trip(case: str, family: str, forms: Sequence[str], folder: Path) -> dict[tuple[str, str], float]:
    """Largest difference between the trained parts and fresh ones with the exported file, by format and part."""
    unet_targets, text_targets, options = {**CASES, **DORA}[case]
    trained = make_parts(family)
    before = outputs(family, trained)
    if unet_targets:
        adapt(trained["unet"], unet_targets, **options)
    for part in text_parts(family) if text_targets else ():
        adapt(trained[part], text_targets, **options)
    wanted = outputs(family, trained)
    for part in wanted:
        touched = bool(unet_targets if part == "unet" else text_targets)
        assert bool((wanted[part] - before[part]).abs().max() > 1e-3) is touched

    artifact = artifact_of(trained, **_facts(trained, options))
    return {
        (form, part): float((value - wanted[part]).abs().max())
        for form in forms
        for part, value in _loaded(artifact, family, form, folder).items()
    }


def _loaded(artifact: Artifact, family: str, form: str, folder: Path) -> dict[str, torch.Tensor]:
    """What fresh parts answer for which diffusers has loaded the exported file."""
    file = folder / f"my-cat-{form}.safetensors"
    export(form, request(artifact, file, family))
    fresh = make_parts(family)
    with diffusers_log() as log:
        pipeline(family, fresh).load_lora_weights(str(folder), weight_name=file.name)
    complaints = [
        line for line in log.getvalue().splitlines() if "unexpected keys" in line or "missing keys" in line
    ]
    assert not complaints
    return outputs(family, fresh)


@pytest.mark.parametrize("case", list(CASES))
def test_an_exported_lora_acts_like_the_trained_one(case: str, tmp_path: Path) -> None:
    differences = _round_trip(case, "sd1", FORMS, tmp_path)
    assert max(differences.values()) < LIMIT, differences


@pytest.mark.parametrize("case", ["dora", "dora-text-mlp-only"])
def test_a_dora_acts_like_the_trained_one_in_diffusers(case: str, tmp_path: Path) -> None:
    differences = _round_trip(case, "sd1", ["diffusers"], tmp_path)
    assert max(differences.values()) < LIMIT, differences


@pytest.mark.parametrize("family", ["sd2", "sdxl"])
@pytest.mark.parametrize("case", ["convolutions", "rslora", "ranks-and-alphas-differ"])
def test_the_other_families_act_alike_too(case: str, family: str, tmp_path: Path) -> None:
    differences = _round_trip(case, family, FORMS, tmp_path)
    assert max(differences.values()) < LIMIT, differences
