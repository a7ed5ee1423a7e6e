"""Every method on every family: it trains, moves nothing else, resumes bit for bit, previews and exports.

A method is one row of `ROWS`; the models have each family's real block layout at narrow widths.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch

from engine.plan.methods import METHODS
from engine.run.kinds import Sample
from engine.train import checkpoint
from engine.train.exporting import export_all
from engine.train.extras import preview_extras
from engine.train.previews import Previewer
from tests.support.pictures import write_conditions, write_pictures
from tests.support.runs import quick_plan
from tests.support.sessions import Prepared, prepared, run_steps, weights

MODELS = ("sd1", "sd2-eps", "sd2-v", "sdxl")


@dataclass(frozen=True)
class Row:
    """One method as a plan asks for it: `changes` of tests.support.runs.quick_plan ("{folder}" in a text is the
    test's own folder), and its data set, which `data` writes into a folder; it returns the pictures' folder."""

    method: str
    changes: Mapping[str, object] = field(default_factory=dict)
    data: Callable[[Path], Path] = lambda folder: write_pictures(folder / "pictures", count=4)


def _pairs(folder: Path) -> Path:
    pictures = write_pictures(folder / "pictures", count=4)
    write_conditions(pictures, folder / "conditions")
    return pictures


ROWS: dict[str, Row] = {
    "textual_inversion": Row(
        "textual_inversion", {"data__trigger": "<cat>", "textual_inversion__vectors": 2}
    ),
    "hypernetwork": Row(
        "hypernetwork",
        {"hypernetwork__activation": "relu", "hypernetwork__dropout": [0.0, 0.1, 0.0]},
    ),
    "style_lora": Row("style_lora", {"style_lora__block_weights": ["OUT01=0.5"]}),
    "loha": Row("lora", {"lora__kind": "loha", "lora__targets": "all", "lora__rank_dropout": 0.2}),
    "lokr": Row("lora", {"lora__kind": "lokr", "lora__targets": "all", "lora__module_dropout": 0.2}),
    "oft": Row("lora", {"lora__kind": "oft", "lora__targets": "all"}),
    "lora": Row("lora", {"lora__text_encoder": True}),
    "lora with a word": Row("lora", {"data__trigger": "<cat>", "lora__word_vectors": 2}),
    "style lora with a word, averaged": Row(
        "style_lora",
        {"data__trigger": "<cat>", "style_lora__word_vectors": 1, "train__ema": 0.9}
        | {"style_lora__block_weights": ["OUT01=0.5"], "output__weights": "both"},
    ),
    "lora with all that drops": Row(
        "lora",
        {"lora__targets": "all", "lora__conv_rank": 2, "lora__plus_ratio": 4.0}
        | {"lora__rank_dropout": 0.2, "lora__module_dropout": 0.2},
    ),
    "full": Row("full", {"full__text_encoder": True, "train__learning_rate": 1e-4}),
    "full frozen in part, averaged": Row("full", {"full__freeze": ["MID", "OUT00"], "train__ema": 0.9}),
    "dreambooth": Row(
        "dreambooth",
        {"data__trigger": "zqx", "data__class_prompt": "a circle", "data__class_count": 2}
        | {"train__learning_rate": 1e-4},
    ),
    "scratch": Row("scratch", {"scratch__size": "base"}),
    "controlnet": Row("controlnet", {"controlnet__condition_path": "{folder}/conditions"}, _pairs),
    "t2i_adapter": Row("t2i_adapter", {"t2i_adapter__condition_path": "{folder}/conditions"}, _pairs),
}


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("name", ROWS)
def test_a_method_works_on_a_family(
    name: str, model: str, narrow_models: dict[str, Path], home: Path, tmp_path: Path
) -> None:
    row = ROWS[name]
    changes = {"train__steps": 2, "samples__steps": 2, "samples__prompts": ["a red circle"], **row.changes}
    for key, value in changes.items():
        if isinstance(value, str):
            changes[key] = value.replace("{folder}", str(tmp_path))
    plan = quick_plan(narrow_models[model], row.data(tmp_path), method=row.method, **changes)
    made = prepared(plan, home / "cache")
    assert made.adapted.family.spec.name == model.partition("-")[0]
    frozen, start = _frozen(made), weights(made)

    reports = run_steps(made, until=1)
    averages = made.loop.ema.state() if made.loop.ema is not None else None
    state = {"loop": made.loop.state()}
    saved, _ = checkpoint.save(
        tmp_path / "checkpoints", 1, made.adapted.trainables, made.loop.optimizer, state, averages
    )
    reports += run_steps(made, start=1)
    assert [report.step for report in reports] == [1, 2]
    assert all(math.isfinite(report.loss) and not report.skipped for report in reports)
    trained = weights(made)
    assert any(not torch.equal(value, start[key]) for key, value in trained.items())
    _assert_equal(_frozen(made), frozen)

    _assert_equal(_resumed(plan, home / "cache", saved), trained)
    _assert_previews(made, tmp_path)
    _assert_exports(made, tmp_path / "export")
    _assert_equal(weights(made), trained)


def test_every_method_has_a_row() -> None:
    assert {row.method for row in ROWS.values()} == set(METHODS)


def _frozen(made: Prepared) -> dict[str, torch.Tensor]:
    """Copies of all tensors of the model and of the method's own modules that do not train."""
    training = {id(item.parameter) for item in made.adapted.trainables}
    modules = {
        **made.adapted.family.parts,
        **{f"own {k}": v for k, v in made.adapted.method.modules().items()},
    }
    return {
        f"{part}.{key}": value.detach().clone()
        for part, module in modules.items()
        for key, value in (*module.named_parameters(), *module.named_buffers())
        if id(value) not in training
    }


def _assert_equal(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    assert found.keys() == expected.keys()
    changed = [key for key, value in found.items() if not torch.equal(value, expected[key])]
    assert not changed, changed[:3]


def _resumed(plan: Any, cache: Path, saved: checkpoint.Saved) -> dict[str, torch.Tensor]:
    """The weights after the second step of a run that begins at the checkpoint."""
    again = prepared(plan, cache)
    state = checkpoint.load(saved, again.adapted.trainables, again.loop.optimizer)
    again.loop.restore(state["loop"])
    averages = checkpoint.load_averages(saved)
    if again.loop.ema is not None and averages is not None:
        again.loop.ema.restore(averages)
    run_steps(again, start=1)
    return weights(again)


def _assert_previews(made: Prepared, folder: Path) -> None:
    plan, samples = made.plan, folder / "samples"
    told: list[Sample] = []
    extras = preview_extras(made.feed.extras, plan, plan.samples.prompts, samples)
    previewer = Previewer(
        plan,
        made.adapted,
        samples,
        told.append,
        plan.samples.prompts,
        extras,
        made.loop.averaged,
    )
    assert previewer.draw_all(2) == 1, told


def _assert_exports(made: Prepared, folder: Path) -> None:
    """Each format is read back and compared by `Format.write`; an unequal file raises."""
    folder.mkdir()
    written = export_all(made.plan, made.adapted, folder, 2, made.report.items)
    assert [item.format for item in written] == list(made.plan.export_formats)
    assert all(item.path.exists() and item.bytes > 0 and item.tensors > 0 for item in written)
