"""Plans as text: canonical, the same after a round trip, and strict about what they read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.errors import UserError
from engine.plan.fields import PlanField, list_sections, section_fields
from engine.plan.files import dumps, from_dict, load_plan, loads, plan_hash
from engine.plan.methods import METHODS
from engine.plan.overrides import put
from engine.plan.problems import PlanErrors
from engine.plan.schema import Plan, plan_fields

SMALLEST = 'name = "x"\n[base]\nmodel = "builtin:tiny"\n[data]\npath = "pictures"\n'
NAMES = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,20}", fullmatch=True)
# Lists of numbers; all other lists are of texts.
NUMBERS = ("scratch.widths", "hypernetwork.layer_structure", "hypernetwork.dropout", "captions.weights")
DEVICES = st.sampled_from(["auto", "cpu", "cuda", "cuda:1"])
TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)


def values_of(field: PlanField) -> st.SearchStrategy[Any]:
    """Any value that the field's declaration allows."""
    if field.key in ("name", "path"):  # the path is a set's, which may not be empty
        return NAMES
    if field.key == "hardware.device":
        return DEVICES
    if field.key == "scratch.stages":
        return st.lists(st.sampled_from(["256:10", "512:20"]), max_size=3)
    if field.kind == "tables":
        return st.lists(tables_of(field.key), max_size=2)
    if field.choices:
        return st.sampled_from([int(each) if field.kind == "int" else each for each in field.choices])
    low = 0 if field.minimum is None else field.minimum
    high = 1e6 if field.maximum is None else field.maximum
    if field.kind == "int":
        return st.integers(int(low), min(int(high) - field.exclusive_maximum, 2**62))
    if field.key.rpartition(".")[2] == "more_resolutions":
        return st.lists(st.integers(4, 512).map(lambda each: 8 * each), max_size=3)
    if field.key in NUMBERS:
        return st.lists(st.integers(1, 64) if field.key == "scratch.widths" else st.floats(1, 4), max_size=3)
    if field.kind == "float":
        return st.floats(low, high, exclude_min=field.exclusive_minimum, exclude_max=field.exclusive_maximum)
    return {"bool": st.booleans(), "list": st.lists(TEXTS, max_size=3)}.get(field.kind, TEXTS)


@st.composite
def tables_of(draw: st.DrawFn, key: str) -> dict[str, Any]:
    """A table of a list with any subset of its fields."""
    fields = section_fields(list_sections(Plan)[key], "")
    return {field.key: draw(values_of(field)) for field in fields if field.required or draw(st.booleans())}


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    """Plans with any subset of their fields set."""
    data: dict[str, Any] = {}
    method = draw(st.sampled_from(list(METHODS)))
    data["method"] = method
    for field in plan_fields(method):
        if field.key != "method" and (field.required or draw(st.booleans())):
            put(data, field.key, draw(values_of(field)))
    return from_dict(data)


@settings(max_examples=60, deadline=None)
@given(plans())
def test_a_plan_survives_writing_and_reading_and_writing_changes_nothing_twice(plan: Plan) -> None:
    text = dumps(plan)
    again = loads(text)
    assert again == plan
    assert dumps(again) == text
    assert plan_hash(again) == plan_hash(plan)


def test_every_field_is_in_the_canonical_text_except_those_that_are_unset() -> None:
    text = dumps(loads(SMALLEST))
    missing = [field.key for field in plan_fields("lora") if f"{field.key.split('.')[-1]} = " not in text]
    unset = ["lora.conv_rank", "lora.conv_alpha", "lora.text_encoder_learning_rate", "lora.word_rate"]
    assert missing == ["base.tokenizer", "base.vae", *unset]


def test_the_hash_follows_every_value() -> None:
    plan = loads(SMALLEST)
    other = plan.model_copy(update={"seed": 43})
    assert plan_hash(plan) == plan_hash(loads(SMALLEST)) != plan_hash(other)


@pytest.mark.parametrize(
    ("line", "key"),
    [
        ("[train]\nsteps = true", "train.steps"),
        ('[train]\nsteps = "200"', "train.steps"),
        ("[train]\nlearning_rate = nan", "train.learning_rate"),
        ("[train]\nlearning_rate = inf", "train.learning_rate"),
        ("[train]\nlearning_rate = 0", "train.learning_rate"),
        ('[train]\nschedule = "cosin"', "train.schedule"),
        ("[train]\nstep = 3", "train.step"),
        ("[trian]\nsteps = 3", "trian"),
        ("[hardware]\ndevice = 'gpu'", "hardware.device"),
        ("[samples]\nprompts = 'a cat'", "samples.prompts"),
        ("[lora]\nrank = 0", "lora.rank"),
        ("[optimizer]\nbeta1 = 1.0", "optimizer.beta1"),
        ("train = 5", "train"),
    ],
)
def test_a_wrong_value_is_named_by_its_key(line: str, key: str) -> None:
    text = f"{line}\n{SMALLEST}" if "[" not in line else f"{SMALLEST}{line}\n"
    with pytest.raises(PlanErrors) as caught:
        loads(text)
    problem = caught.value.problems[0]
    assert problem.key == key
    assert problem.why and problem.fix


def test_all_problems_come_at_once() -> None:
    with pytest.raises(PlanErrors) as caught:
        loads('name = "a b"\nseed = -1\n[base]\n[data]\npath = "x"\nresolution = 4\n')
    assert {problem.key for problem in caught.value.problems} == {
        "name",
        "seed",
        "base.model",
        "data.resolution",
    }
    assert "name: " in caught.value.why and "seed: " in caught.value.why and "1 more" in caught.value.why
    assert caught.value.fix


@pytest.mark.parametrize(("wrong", "right"), [("renk", "lora.rank"), ("alhpa", "lora.alpha")])
def test_a_misspelt_key_gets_a_suggestion(wrong: str, right: str) -> None:
    with pytest.raises(PlanErrors) as caught:
        loads(f"{SMALLEST}[lora]\n{wrong} = 3\n")
    assert right in caught.value.problems[0].fix


def test_a_misspelt_table_gets_a_suggestion() -> None:
    with pytest.raises(PlanErrors) as caught:
        loads(f"{SMALLEST}[trian]\nsteps = 3\n")
    assert "train" in caught.value.problems[0].fix


def test_a_newer_schema_version_says_to_upgrade() -> None:
    with pytest.raises(PlanErrors) as caught:
        loads(f"version = 2\n{SMALLEST}")
    assert caught.value.problems[0].key == "version"
    assert "upgrade" in caught.value.problems[0].fix


def test_relative_paths_are_read_from_the_plans_own_folder(tmp_path: Path) -> None:
    folder = tmp_path / "plans"
    folder.mkdir()
    file = folder / "plan.toml"
    file.write_text(SMALLEST.replace("builtin:tiny", "./base.safetensors"))
    plan = load_plan(file)
    assert plan.data.path == str(folder / "pictures")
    assert plan.base.model == str(folder / "base.safetensors")


def test_a_hub_id_and_a_builtin_stay_as_they_are(tmp_path: Path) -> None:
    file = tmp_path / "plan.toml"
    for model in ("owner/model", "builtin:tiny"):
        file.write_text(SMALLEST.replace("builtin:tiny", model))
        assert load_plan(file).base.model == model


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"name = [", "not valid TOML"),
        (b"\xff\xfe\x00\x01", "not a text file"),
        (b"#" * 1_000_001, "too large"),
        (b"a = " + b"[" * 5000, "not valid TOML"),
    ],
)
def test_a_file_that_is_no_plan_is_a_user_error(tmp_path: Path, content: bytes, said: str) -> None:
    file = tmp_path / "plan.toml"
    file.write_bytes(content)
    with pytest.raises(UserError) as caught:
        load_plan(file)
    assert said in caught.value.what


def test_a_missing_plan_and_a_folder_are_user_errors(tmp_path: Path) -> None:
    for path in (tmp_path / "none.toml", tmp_path):
        with pytest.raises(UserError) as caught:
            load_plan(path)
        assert str(path) in caught.value.what
