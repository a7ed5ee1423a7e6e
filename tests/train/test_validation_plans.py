"""Validation goes with every kind of plan: families, stages, class pictures, narrow weights, fused backward passes."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from engine import open_training
from engine.models.specs import FAMILIES
from engine.planning.data import validated_on
from tests.families.flow import NarrowFlux, NarrowSd3
from tests.support.pictures import write_pictures
from tests.support.runs import quick_plan
from tests.support.sessions import prepared
from tests.train.test_validation import SHARE, bits, opened

PLANS: dict[str, dict[str, Any]] = {
    "dreambooth with class pictures": {
        "method": "dreambooth",
        "data__class_prompt": "a dog",
        "data__trigger": "zork",
        "dreambooth__text_encoder": True,
    },
    "stages of resolution": {
        "method": "scratch",
        "scratch__stages": ["64:2", "128:2"],
        "data__resolution": 128,
        "train__steps": 4,
    },
    "narrow weights": {"train__weights": "bf16", "optimizer__name": "adamw_bf16"},
    "fused backward": {"method": "full", "hardware__fused_backward": "weights", "train__clip_norm": 0.0},
    "words": {"method": "textual_inversion", "data__trigger": "<zork>"},
    "hypernetwork": {"method": "hypernetwork", "hypernetwork__dropout": [0.0, 0.3, 0.0]},
    "live captions": {"data__shuffle_tags": True, "captions__wildcards": True, "captions__tag_dropout": 0.5},
    "several resolutions": {"data__flip": True, "hardware__gradient_checkpointing": True},
}


@pytest.mark.parametrize("name", PLANS)
def test_every_kind_of_plan_validates_and_resumes(
    name: str, pictures: Path, small_sd1: Path, tmp_path: Path
) -> None:
    changes = {"train__steps": 4, **PLANS[name]}
    if "class" in name:
        changes["data__class_path"] = str(write_pictures(tmp_path / "class", 3, seed=8))
    plan = quick_plan(small_sd1, pictures, **SHARE, **changes)
    plain = opened(plan, tmp_path / "cache")
    plain.train()
    made = opened(plan, tmp_path / "cache", tmp_path / "run")
    told = []
    for _ in range(2):
        told.append(made.validate())
        made.train(1)
    made.save()
    made.close()
    with opened(plan, tmp_path / "cache", tmp_path / "run") as again:
        assert again.step == 2
        for _ in range(2):
            told.append(again.validate())
            again.train(1)
        told.append(again.validate())
    assert bits(again) == bits(plain), "the training does not notice"
    losses = [each.loss for each in told]
    assert all(map(math.isfinite, losses)) and len(set(losses)) == len(losses)
    assert again.validate() == told[-1] == plain.validate()


@pytest.mark.parametrize("base", ["sd2-v", "sdxl"])
def test_other_families(base: str, narrow_models: dict[str, Path], pictures: Path, tmp_path: Path) -> None:
    made = opened(quick_plan(narrow_models[base], pictures, **SHARE), tmp_path / "cache")
    first = made.validate()
    made.train(1)
    assert math.isfinite(first.loss) and made.validate().loss != first.loss


@pytest.mark.parametrize("kind", [NarrowSd3, NarrowFlux])
def test_a_flow_has_bands_too(kind: type[NarrowSd3], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pictures = write_pictures(tmp_path / "square")
    monkeypatch.setitem(FAMILIES, kind.spec.name, kind.spec)
    family = kind(tmp_path / "model")
    plan = quick_plan("narrow", pictures, **SHARE, validation__bands=2)
    made = open_training(plan, cache=tmp_path / "cache", family=family, checked=True)
    first = made.validate()
    assert made.validate() == first and len(first.bands) == 2
    times = []
    real = family.denoise

    def denoise(noisy: Any, at: Any, *given: Any) -> Any:
        times.append(at.tolist())
        return real(noisy, at, *given)

    monkeypatch.setattr(family, "denoise", denoise)
    made.validate()
    middle = family.schedule.timesteps([0.5], plan.objective, (16, 8, 8)).item()
    halves = list(zip(*[iter(times)] * 2, strict=True))
    assert halves and all(max(clean) < middle < min(noisy) for clean, noisy in halves)


def test_a_run_opened_from_python_knows_the_best_step_of_its_events(
    pictures: Path, small_sd1: Path, tmp_path: Path
) -> None:
    from engine.run.events import EventWriter
    from engine.run.kinds import Validation

    plan = quick_plan(small_sd1, pictures, **SHARE, checkpoints__keep=1)
    with opened(plan, tmp_path / "cache", tmp_path / "run") as made:
        made.train(2)
        made.save()
        assert made.run is not None
        with EventWriter(made.run.events_file) as writer:
            writer.emit(Validation(2, 0.001, 2, 0.1, {}, {}, 2, 0.001))
    with opened(plan, tmp_path / "cache", tmp_path / "run") as again:
        assert again.history.best == (2, 0.001)
        for _ in range(2):
            again.train(1)
            again.save()
        assert again.run is not None
        names = sorted(path.name for path in again.run.checkpoints.iterdir())
    assert names == ["step-00000002", "step-00000004"]


def test_held_out_pictures_are_none_of_what_previews_and_files_speak_of(
    pictures: Path, small_sd1: Path, tmp_path: Path
) -> None:
    made = prepared(quick_plan(small_sd1, pictures, **SHARE), tmp_path / "cache")
    held = {item.rel for item in validated_on(made.plan, made.report)}
    assert held and not held & {item.rel for item in made.feed.items}
    assert held < {item.rel for item in made.report.items}, "the data set is looked at whole"
