"""A tenth method is one declaration: this file alone adds it, and everything that plans have works with it.

BitFit (Ben Zaken et al. 2021, arXiv:2106.10199) on the UNet: biases train, weights stay.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Self

import pytest
import torch

from engine.cost.estimate import estimate
from engine.cost.machine import Machine
from engine.demo.prepare import prepare
from engine.errors import UserError
from engine.families.base import ModelFamily
from engine.methods.artifact import Artifact
from engine.methods.base import Method, Trainable, options_of
from engine.models.bases import locate
from engine.plan.fields import option
from engine.plan.files import dumps, loads
from engine.plan.methods import METHODS, MethodOptions, MethodSpec
from engine.plan.methods.base import Lesson
from engine.plan.methods.context import BaseShape, Derived, GrowingPlan, PlanContext
from engine.plan.methods.plugins import RESERVED
from engine.plan.overrides import parse_set
from engine.plan.problems import PlanErrors, Problem, warning
from engine.plan.registration import register, registered
from engine.plan.schema import Plan, plan_fields
from engine.planning.build import build, gather
from engine.planning.check import check, errors_of
from engine.planning.docs import markdown
from engine.planning.presets import preset
from engine.run.kinds import Sample
from engine.train import checkpoint
from engine.train.exporting import export_all
from engine.train.previews import Previewer
from sdtrain_tui.wizard.draft import Draft
from tests.support.pictures import write_pictures
from tests.support.runs import quick_plan
from tests.support.sessions import Prepared, prepared, run_steps, weights


class BiasOptions(MethodOptions):
    """Options of the tenth method."""

    middle: bool = option(True, "biases of the middle block too")
    strength: float = option(1.0, "factor of the learning rate", gt=0, le=10)

    def problems(self, ctx: PlanContext) -> Iterator[Problem]:
        if self.strength > 4:
            yield warning("biases.strength", f"{self.strength:g} is a lot", "biases run away", "set 1")

    @classmethod
    def derive(cls, plan: GrowingPlan) -> Iterator[Derived]:
        yield Derived("biases.strength", 2.0, "the tenth method says so")

    def trained_parameters(self, shape: BaseShape, trigger: str) -> int:
        return sum(layer.outputs for layer in shape.denoiser)


class Biases(Method):
    """Trains the biases of the denoiser."""

    def __init__(self, options: BiasOptions, learning_rate: float) -> None:
        self.options = options
        self.learning_rate = learning_rate * options.strength

    @classmethod
    def from_plan(cls, plan: Plan) -> Self:
        return cls(options_of(plan, BiasOptions), plan.train.learning_rate)

    def _found(self, family: ModelFamily) -> Mapping[str, torch.nn.Parameter]:
        return {
            f"unet.{name}": value
            for name, value in family.denoiser.named_parameters()
            if name.endswith(".bias") and (self.options.middle or not name.startswith("mid_block"))
        }

    def prepare(self, family: ModelFamily) -> Sequence[Trainable]:
        found = self._found(family)
        return [
            Trainable(name, value, "unet", self.learning_rate, weight_decay=False)
            for name, value in found.items()
        ]

    def artifact(self, family: ModelFamily) -> Artifact:
        found = self._found(family)
        return Artifact(
            "full", {name: value.detach().float().cpu().clone() for name, value in found.items()}, {}
        )


SPEC = MethodSpec(
    name="biases",
    title="Biases",
    goal="train the biases alone",
    input="a few pictures",
    output="a whole model",
    use="tests",
    options=BiasOptions,
    behaviour=f"{__name__}:Biases",
    formats=("single_file", "diffusers_folder"),
    asks=("biases.middle", "data.trigger"),
    labels={"biases.middle": "middle too"},
    class_obstacle="biases forget nothing",
    like="full",
    preset={"train.learning_rate": 3e-3},
    lesson=Lesson("style", 3, "a style by its biases", "zil style"),
)


@pytest.fixture
def tenth() -> Iterator[None]:
    with registered(SPEC):
        yield


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_pictures(tmp_path / "pictures", count=4)


@pytest.mark.usefixtures("tenth")
def test_it_is_planned_checked_and_forecast(folder: Path, no_gpu: Machine) -> None:
    answers = {"method": "biases", "base.model": "builtin:tiny", "data.path": str(folder)}
    facts = gather(answers, no_gpu)
    built = build(answers, facts)
    plan = built.plan
    assert isinstance(plan.options, BiasOptions) and plan.options.strength == 2.0
    assert plan.train.learning_rate == 3e-3 and plan.export_formats == ("single_file",)
    assert "[biases]" in dumps(plan) and "[lora]" not in dumps(plan) and loads(dumps(plan)) == plan
    assert list(Plan.model_fields)[5:15] == ["data", *METHODS][:10]
    assert not errors_of(check(plan, report=facts.report, base=facts.base, here=no_gpu))

    changed = plan.model_copy(
        update={
            "biases": BiasOptions(strength=5.0),
            "data": plan.data.model_copy(update={"class_count": 2, "class_prompt": "a thing"}),
        }
    )
    found = check(changed, report=facts.report, base=facts.base, here=no_gpu)
    assert [problem.key for problem in errors_of(found)] == ["data.class_count"]
    assert "biases.strength" in {problem.key for problem in found}
    forecast = estimate(plan, locate("builtin:tiny"), facts.report, no_gpu)
    trained = next(size for name, size in forecast.vram_parts if name.startswith("trained weights"))
    assert 0 < trained < 100_000


@pytest.mark.usefixtures("tenth")
def test_it_is_in_the_presets_the_page_the_wizard_and_the_demo(tmp_path: Path) -> None:
    for family in ("sd1", "sd2", "sdxl"):
        full, own = preset("full", family, False, 24), preset("biases", family, False, 24)
        assert own.values["train.learning_rate"] == 3e-3 and own.values["train.batch_size"]
        assert own.values["train.batch_size"] == full.values["train.batch_size"]
        assert {key.partition(".")[0] for key in own.values}.isdisjoint(METHODS)
    assert "## [biases]" in markdown() and "### biases on sdxl" in markdown()
    assert parse_set("biases.middle=false") == ("biases.middle", False)
    draft = Draft({"method": "biases"})
    assert "biases.strength" in draft.fields() and "lora.rank" not in draft.fields()
    answers = prepare(tmp_path / "demo", "biases")
    assert answers["method"] == "biases" and len(list((tmp_path / "demo" / "pictures").glob("*.png"))) == 3


@pytest.mark.usefixtures("tenth")
def test_it_trains_resumes_bit_for_bit_previews_and_exports(
    folder: Path, narrow_models: dict[str, Path], home: Path, tmp_path: Path
) -> None:
    changes = {"train__steps": 2, "samples__steps": 2, "samples__prompts": ["a red circle"]}
    plan = quick_plan(narrow_models["sd1"], folder, method="biases", biases__middle=False, **changes)
    made = prepared(plan, home / "cache")
    names = [item.name for item in made.adapted.trainables]
    assert names and all(name.endswith(".bias") and "mid_block" not in name for name in names)
    start = weights(made)

    run_steps(made, until=1)
    saved, _ = checkpoint.save(
        tmp_path / "checkpoints", 1, made.adapted.trainables, made.loop.optimizer, {"loop": made.loop.state()}
    )
    run_steps(made, start=1)
    trained = weights(made)
    assert all(not torch.equal(trained[name], start[name]) for name in trained)

    again = _resumed(plan, home / "cache", saved)
    assert again.keys() == trained.keys() and all(torch.equal(again[name], trained[name]) for name in trained)
    told: list[Sample] = []
    samples, prompts = tmp_path / "samples", plan.samples.prompts
    previewer = Previewer(plan, made.adapted, samples, told.append, prompts, [], made.loop.averaged)
    assert previewer.draw_all(2) == 1 and len(told) == 1
    (tmp_path / "export").mkdir()
    written = export_all(made.plan, made.adapted, tmp_path / "export", 2, made.report.items)
    assert [item.format for item in written] == ["single_file"] and written[0].path.is_file()


def _resumed(plan: Plan, cache: Path, saved: checkpoint.Saved) -> dict[str, torch.Tensor]:
    again: Prepared = prepared(plan, cache)
    state = checkpoint.load(saved, again.adapted.trainables, again.loop.optimizer)
    again.loop.restore(state["loop"])
    run_steps(again, start=1)
    return weights(again)


def test_it_is_gone_afterwards(folder: Path) -> None:
    with registered(SPEC):
        assert any(field.key == "biases.middle" for field in plan_fields("biases"))
    assert "biases" not in METHODS and "biases" not in Plan.model_fields
    with pytest.raises(PlanErrors) as refused:
        quick_plan("builtin:tiny", folder, method="biases")
    assert {problem.key for problem in refused.value.problems} == {"method"}


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"name": "lora"}, "already"),
        ({"name": "data"}, "cannot be named"),
        ({"name": "two words"}, "cannot be named"),
        ({"options": dict}, "no MethodOptions"),
        ({"like": "nothing"}, "no method"),
        ({"like": ""}, "no method"),
    ],
)
def test_a_declaration_that_cannot_be_is_refused(changes: dict[str, object], why: str) -> None:
    declared = {name: getattr(SPEC, name) for name in SPEC.__dataclass_fields__} | changes
    before = dict(METHODS)
    with pytest.raises(UserError, match="cannot be added") as refused:
        register(MethodSpec(**declared))
    assert why in refused.value.why and before == METHODS


def test_no_method_may_be_named_like_a_key_of_the_plan() -> None:
    assert set(Plan.model_fields) - set(METHODS) == RESERVED
