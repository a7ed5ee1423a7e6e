"""From answers to a plan: given values win, the rest is derived with reasons, and nothing depends on chance."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.cost.estimate import estimate
from engine.cost.machine import Machine
from engine.models.bases import BaseInfo, locate
from engine.models.specs import FAMILIES
from engine.plan.files import dumps, load_plan, loads
from engine.plan.methods import METHODS
from engine.plan.methods.lora import LoraOptions
from engine.plan.problems import PlanErrors
from engine.plan.schema import plan_fields
from engine.planning.build import Facts, build, gather
from engine.planning.check import check
from engine.planning.derive import FEWEST_STEPS
from engine.planning.presets import preset, recipes
from tests.support.pictures import write_pictures
from tests.support.plans import GIB, card


def answers_for(pictures: Path, **more: object) -> dict[str, object]:
    return {"base.model": "builtin:tiny", "data.path": str(pictures), **more}


def test_the_same_answers_give_the_same_bytes(pictures: Path, no_gpu: Machine) -> None:
    texts = {
        dumps(build(answers_for(pictures), gather(answers_for(pictures), no_gpu)).plan) for _ in range(3)
    }
    assert len(texts) == 1
    assert dumps(loads(texts.copy().pop())) == texts.pop()


def test_a_plan_from_two_answers_has_no_errors(pictures: Path, no_gpu: Machine) -> None:
    plan = build(answers_for(pictures), gather(answers_for(pictures), no_gpu)).plan
    assert [problem for problem in check(plan, here=no_gpu) if problem.level == "error"] == []


def test_given_answers_win_over_preset_and_derived(pictures: Path, no_gpu: Machine) -> None:
    given: dict[str, object] = {
        "train.steps": 77, "lora.rank": 2, "lora.alpha": 9.0, "data.resolution": 128, "name": "mine",
        "samples.prompts": ["my prompt"], "train.warmup": 0, "output.formats": ["diffusers"],
    }  # fmt: skip
    built = build(answers_for(pictures, **given), gather(answers_for(pictures, **given), no_gpu))
    values = {key: getattr_path(built.plan, key) for key in given}
    assert values == given
    assert not {item.key for item in built.derived} & set(given)


def getattr_path(value: object, key: str) -> object:
    for part in key.split("."):
        value = getattr(value, part)
    return value


def test_an_optimiser_with_a_learning_rate_of_its_own_gets_it_unless_another_is_given(
    pictures: Path, no_gpu: Machine
) -> None:
    asked = answers_for(pictures, **{"optimizer.name": "prodigy"})
    built = build(asked, gather(asked, no_gpu))
    assert built.plan.train.learning_rate == 1.0
    assert check(built.plan, here=no_gpu) == []
    given = {**asked, "train.learning_rate": 1e-4}
    assert build(given, gather(given, no_gpu)).plan.train.learning_rate == 1e-4


def test_everything_derived_is_in_the_plan_and_has_a_reason(pictures: Path, no_gpu: Machine) -> None:
    built = build(answers_for(pictures), gather(answers_for(pictures), no_gpu))
    for item in built.derived:
        assert getattr_path(built.plan, item.key) == item.value
        assert item.why


def test_the_tiny_model_gets_its_own_recipe(pictures: Path, no_gpu: Machine) -> None:
    plan = build(answers_for(pictures), gather(answers_for(pictures), no_gpu)).plan
    assert isinstance(plan.options, LoraOptions)
    assert (plan.data.resolution, plan.train.steps, plan.options.rank) == (64, 300, 16)
    assert plan.train.batch_size == 6  # not more than there are pictures
    assert plan.samples.guidance == 3.0


def test_prompts_are_the_first_captions_that_differ(pictures: Path, no_gpu: Machine) -> None:
    for file in sorted(pictures.glob("*.txt"))[:3]:
        file.write_text("the same words")
    prompts = build(answers_for(pictures), gather(answers_for(pictures), no_gpu)).plan.samples.prompts
    assert prompts[0] == "the same words"
    assert len(set(prompts)) == len(prompts) == 4


def test_without_captions_the_trigger_is_the_prompt(pictures: Path, no_gpu: Machine) -> None:
    for file in pictures.glob("*.txt"):
        file.unlink()
    given = answers_for(pictures, **{"data.trigger": "zqx"})
    assert build(given, gather(given, no_gpu)).plan.samples.prompts == ["zqx"]


@pytest.mark.parametrize(("gigabytes", "saves"), [(3.5, True), (8, False), (24, False)])
def test_gradient_checkpointing_follows_the_card(pictures: Path, gigabytes: float, saves: bool) -> None:
    here = card(gigabytes)
    given = answers_for(pictures)
    facts = gather(given, here)
    full = Facts(facts.report, None, facts.vram_gb, facts.gpus, here)
    plan = build({**given, "data.resolution": 512}, full).plan
    assert plan.hardware.gradient_checkpointing is saves


def test_more_pictures_get_more_steps_within_bounds(tmp_path: Path) -> None:
    steps = []
    for count in (3, 40):
        folder = write_pictures(tmp_path / str(count), count)
        given = answers_for(folder)
        facts = gather(given, card(8))
        full = Facts(facts.report, None, 8.0, facts.gpus, facts.machine)
        steps.append(build(given, full).plan.train.steps)
    assert steps == [FEWEST_STEPS, 2000]


def test_buckets_smaller_than_a_batch_get_repeats(tmp_path: Path) -> None:
    folder = write_pictures(tmp_path / "mixed", 9, wide=4)
    given = answers_for(folder, **{"train.batch_size": 4})
    plan = build(given, gather(given, card(8))).plan
    assert plan.data.repeats > 1


def test_alpha_follows_a_given_rank(pictures: Path, no_gpu: Machine) -> None:
    given = answers_for(pictures, **{"lora.rank": 3})
    plan = build(given, gather(given, no_gpu)).plan
    assert isinstance(plan.options, LoraOptions) and plan.options.alpha == 3.0


def test_dora_leaves_the_format_out_that_cannot_hold_it(pictures: Path, no_gpu: Machine) -> None:
    given = answers_for(pictures, **{"lora.dora": True})
    assert build(given, gather(given, no_gpu)).plan.output.formats == ["diffusers"]


def test_paths_become_absolute(pictures: Path, no_gpu: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(pictures.parent)
    given = {"base.model": "builtin:tiny", "data.path": pictures.name}
    plan = build(given, gather(given, no_gpu)).plan
    assert plan.data.path == str(pictures)
    assert plan.name == "pictures-lora"


def test_answers_that_do_not_fit_are_all_named(pictures: Path, no_gpu: Machine) -> None:
    given = answers_for(pictures, **{"train.steps": "many", "lora.rank": -1, "method": "nothing"})
    with pytest.raises(PlanErrors) as caught:
        build(given, gather(given, no_gpu))
    assert {"train.steps", "lora.rank", "method"} <= {problem.key for problem in caught.value.problems}


def test_without_answers_the_missing_keys_are_named(no_gpu: Machine) -> None:
    with pytest.raises(PlanErrors) as caught:
        build({}, Facts(machine=no_gpu))
    assert {problem.key.split(".")[0] for problem in caught.value.problems} == {"base", "data"}


def test_a_base_that_cannot_be_found_is_a_problem_among_the_facts(pictures: Path, no_gpu: Machine) -> None:
    facts = gather({"base.model": "builtin:nothing", "data.path": str(pictures)}, no_gpu)
    assert [problem.key for problem in facts.problems] == ["base.model"]
    assert facts.report is not None and facts.base is None


def test_every_preset_value_is_a_field_and_has_a_source() -> None:
    for recipe in recipes():
        known = {field.key for field in plan_fields(recipe["method"])}
        for card_gb in (None, 4, 8, 12, 16, 24, 48, 80, 141):
            found = preset(recipe["method"], recipe["family"], recipe.get("tiny", False), card_gb)
            assert set(found.values) <= known
            assert set(found.sources) == set(found.values)
            assert all(found.sources.values()) and found.source and found.why


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("family", FAMILIES)
def test_every_method_has_a_preset_on_every_family_and_card(method: str, family: str) -> None:
    for tiny in (False, True):
        for card_gb in (None, 4, 8, 12, 16, 24, 48, 80, 141):
            found = preset(method, family, tiny, card_gb)
            assert found.values["train.learning_rate"] and found.values["train.batch_size"]
            tables = {key.partition(".")[0] for key in found.values} & set(METHODS)
            assert tables <= {method}


@pytest.mark.parametrize(
    ("gigabytes", "batch"),
    [(None, 1), (4, 2), (7.6, 2), (11.8, 4), (15.6, 4), (23.9, 8), (47.4, 16), (79.6, 16)],
)
def test_the_preset_follows_the_card_as_it_reports_itself(gigabytes: float | None, batch: int) -> None:
    assert preset("lora", "sd1", False, gigabytes).values["train.batch_size"] == batch


@pytest.mark.parametrize(("family", "side"), [("sd1", 512), ("sd2", 768), ("sdxl", 1024)])
@pytest.mark.parametrize("gigabytes", [12, 16, 24, 48, 80])
def test_a_lora_preset_fits_its_card_on_every_family(
    family: str, side: int, gigabytes: float, pictures: Path
) -> None:
    base = BaseInfo("owner/model", "hub", None, family, "", "epsilon", "base", "fp16", side, False, ())
    here = card(gigabytes)
    given = answers_for(pictures, **{"base.model": "owner/model", "base.allow_download": True})
    facts = gather(answers_for(pictures), here)
    plan = build(given, Facts(facts.report, base, facts.vram_gb, facts.gpus, here)).plan
    assert plan.data.resolution == side
    assert estimate(plan, base, facts.report, here).vram_total < gigabytes * GIB
    assert not [problem for problem in check(plan, base=base, here=here) if problem.level == "error"]


def test_every_preset_builds_a_plan_without_errors(pictures: Path, no_gpu: Machine) -> None:
    base = locate("builtin:tiny")
    for here in (no_gpu, *(card(size) for size in (8, 12, 16, 24, 48, 80))):
        given = answers_for(pictures)
        plan = build(given, gather(given, here)).plan
        assert not [problem for problem in check(plan, base=base, here=here) if problem.level == "error"]


@pytest.mark.parametrize(
    ("method", "key"),
    [
        ("lora", "data.path"),
        ("dreambooth", "data.class_path"),
        ("lora", "base.model"),
        ("lora", "base.vae"),
        ("controlnet", "controlnet.condition_path"),
        ("controlnet", "controlnet.start"),
    ],
)
def test_a_home_that_nobody_has_is_a_problem_of_its_field(method: str, key: str, pictures: Path) -> None:
    answers: dict[str, object] = {
        "method": method,
        "base.model": "builtin:tiny",
        "data.path": str(pictures),
        key: "~nobody-here/x",
    }
    assert [problem.key for problem in gather(answers).problems] == [key]
    with pytest.raises(PlanErrors) as caught:
        build(answers, Facts())
    assert [problem.key for problem in caught.value.problems] == [key]
    assert "'~nobody-here' is no user's home" in caught.value.problems[0].what


def test_a_plan_file_with_a_home_that_nobody_has_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "plan.toml"
    path.write_text('name = "x"\n[base]\nmodel = "builtin:tiny"\n[data]\npath = "~nobody-here/x"\n')
    with pytest.raises(PlanErrors) as caught:
        load_plan(path)
    assert [problem.key for problem in caught.value.problems] == ["data.path"]
