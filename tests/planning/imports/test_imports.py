"""Other tools' settings: each value of a public example of each tool, one by one, and what is left and why."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from engine.errors import UserError
from engine.plan.layouts import read_layout
from engine.plan.problems import PlanErrors
from engine.planning.imports import TOOLS, plan_of, read_settings, recognised
from engine.planning.imports.base import Reading
from engine.planning.imports.command import parse_command
from tests.planning.imports import examples
from tests.planning.imports.expected import CARRIED, LEFT

FILES: dict[str, tuple[str, str]] = {
    "kohya": ("config.toml", examples.KOHYA),
    "kohya_gui": ("gui.json", json.dumps(examples.GUI)),
    "onetrainer": ("onetrainer.json", json.dumps(examples.ONETRAINER)),
    "onetrainer_new": ("new.json", json.dumps(examples.ONETRAINER_NEW)),
    "simpletuner": ("config.json", json.dumps(examples.SIMPLETUNER)),
    "aitoolkit": ("train.yaml", examples.AITOOLKIT),
    "diffusers": ("train.sh", examples.DIFFUSERS),
    "dreambooth": ("dreambooth.sh", examples.DREAMBOOTH),
}


@pytest.fixture(params=sorted(FILES))
def example(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def _read(name: str, folder: Path, *sets: str) -> Reading:
    file, text = FILES[name]
    path = folder / file
    path.write_text(text)
    return read_settings(str(path), sets)


def test_every_value_of_the_example_is_carried_over_as_it_is(example: str, tmp_path: Path) -> None:
    assert _read(example, tmp_path).answers == CARRIED[example]


def test_every_setting_has_one_line_and_what_is_left_has_a_reason(example: str, tmp_path: Path) -> None:
    made = _read(example, tmp_path)
    told = [line.name for line in made.lines if line.name]
    assert len(told) == len(set(told)), sorted(name for name in told if told.count(name) > 1)
    silent = {"training_method", "model_type", "type", "resolution_type"}
    assert set(made.settings) - set(told) <= silent
    assert all(
        line.why for line in made.lines if line.status in ("left", "default") and not (line.name and line.key)
    )
    for name, why in LEFT.get(example, {}).items():
        found = {line.name: line for line in made.lines if line.status == "left"}
        assert why in found[name.lstrip("-")].why, name


def test_the_plan_is_made_of_it_once_nothing_is_missing(example: str, tmp_path: Path, pictures: Path) -> None:
    sets = ["base.model=builtin:tiny", f"data.path={pictures}", "base.vae=", "base.family=auto"]
    made = _read(example, tmp_path, *(each for each in sets if example == "diffusers" or "vae" not in each))
    made.answers.pop("base.vae", None)
    plan = plan_of(made, "the file")
    assert plan.base.model == "builtin:tiny" and plan.method == CARRIED[example]["method"]
    assert plan.train.learning_rate == CARRIED[example]["train.learning_rate"]


def test_what_is_not_said_is_asked_for(tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        plan_of(_read("kohya_gui", tmp_path), "gui.json")
    assert "the base model and the pictures" in caught.value.what and "--set base.model=" in caught.value.fix


def test_each_tool_has_a_name_of_its_own_and_knows_its_own_files_alone(example: str, tmp_path: Path) -> None:
    file, text = FILES[example]
    (tmp_path / file).write_text(text)
    titles = [tool.title for tool in TOOLS]
    assert len(set(titles)) == len(titles) and recognised(tmp_path / file) in titles


def test_a_plan_and_other_files_are_no_tools(tmp_path: Path) -> None:
    for name, text in (
        ("plan.toml", 'name = "a"\n[base]\nmodel = "x"\n'),
        ("a.json", "[1, 2]"),
        ("b.sh", "ls -l\n"),
    ):
        (tmp_path / name).write_text(text)
        assert recognised(tmp_path / name) == ""
    with pytest.raises(UserError, match="no tool that is known"):
        read_settings(str(tmp_path / "a.json"))


def test_a_dataset_config_is_read_as_it_stands(tmp_path: Path, pictures: Path) -> None:
    file = tmp_path / "sets.toml"
    file.write_text(
        f'[[datasets]]\nresolution = 64\n[[datasets.subsets]]\nimage_dir = "{pictures}"\nnum_repeats = 3\n'
    )
    made = read_settings(str(file), ["base.model=builtin:tiny"])
    plan = plan_of(made, "sets.toml")
    assert [(one.path, one.repeats, one.resolution) for one in plan.data.sets] == [(str(pictures), 3, 64)]


def test_several_datasets_and_resolutions_of_ai_toolkit_are_sets(tmp_path: Path) -> None:
    text = examples.AITOOLKIT.replace(
        "resolution: [1024]", "resolution: [512, 1024]\n          num_repeats: 2"
    )
    file = tmp_path / "two.yaml"
    file.write_text(text)
    sets: Any = read_settings(str(file)).answers["data.sets"]
    assert [(one["resolution"], one["repeats"], one["path"]) for one in sets] == [
        (512, 2, "/path/to/pictures"),
        (1024, 2, "/path/to/pictures"),
    ]


def test_local_data_backends_of_simpletuner_are_sets(tmp_path: Path, pictures: Path) -> None:
    backends = [
        {"id": "own", "type": "local", "instance_data_dir": str(pictures), "repeats": 5, "resolution": 64,
         "instance_prompt": "cat girls", "caption_strategy": "filename", "crop": False},
        {"id": "far", "type": "aws", "aws_bucket_name": "somewhere"},
        {"id": "words", "dataset_type": "text_embeds", "type": "local", "cache_dir": "/cache"},
    ]  # fmt: skip
    (tmp_path / "multidatabackend.json").write_text(json.dumps(backends))
    settings = {**examples.SIMPLETUNER, "--data_backend_config": "multidatabackend.json"}
    (tmp_path / "config.json").write_text(json.dumps(settings))
    plan = plan_of(read_settings(str(tmp_path / "config.json"), ["base.model=builtin:tiny"]), "config.json")
    told = [(one.path, one.repeats, one.resolution, one.trigger, one.add_trigger) for one in plan.data.sets]
    assert told == [(str(pictures), 6, 64, "cat girls", False)]
    layout = read_layout(tmp_path / "multidatabackend.json")
    assert layout is not None
    assert layout.unread == ("caption_strategy = 'filename' (own)", "type = 'aws' (far)")


@pytest.mark.parametrize(("change", "said"), [
    ({"model_type": "FLUX_DEV_1"}, "FLUX_DEV_1"),
    ({"training_method": "FINE_TUNE_VAE"}, "FINE_TUNE_VAE"),
])  # fmt: skip
def test_what_is_not_trained_here_is_refused_by_name(
    change: dict[str, str], said: str, tmp_path: Path
) -> None:
    file = tmp_path / "other.json"
    file.write_text(json.dumps({**examples.ONETRAINER, **change}))
    with pytest.raises(UserError) as caught:
        read_settings(str(file))
    assert said in f"{caught.value.what} {caught.value.why}"


def test_a_yaml_is_read_by_the_safe_loader(tmp_path: Path) -> None:
    file = tmp_path / "evil.yaml"
    file.write_text(f"config: !!python/object/apply:os.mkdir ['{tmp_path / 'ran'}']\n")
    with pytest.raises(UserError, match="cannot be read"):
        read_settings(str(file))
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(("line", "script", "options"), [
    ("python train_network.py --a=1 --b 2 3 --c", "train_network", {"a": "1", "b": ["2", "3"], "c": True}),
    ("X=5\naccelerate launch --m no a/train_db.py --lr -1e-3 --x=$X --y=$Y", "train_db",
     {"lr": "-1e-3", "x": "5", "y": "$Y"}),
    ('python "train_db.py" ^\r\n --name "a b"', "train_db", {"name": "a b"}),
])  # fmt: skip
def test_a_command_is_taken_apart_as_a_shell_does(line: str, script: str, options: dict[str, object]) -> None:
    found = parse_command(line)
    assert found is not None and (found.script, found.options) == (script, options)


def test_a_share_of_warm_up_is_counted_where_the_steps_are_known() -> None:
    command = "python train_network.py --lr_scheduler=cosine --lr_warmup_steps=0.1 --max_train_steps=2000"
    assert read_settings(command).answers["train.warmup"] == 200
    made = read_settings(command.replace("max_train_steps=2000", "max_train_epochs=4"))
    assert "train.warmup" not in made.answers
    assert any(line.name == "lr_warmup_steps" and "set train.warmup" in line.why for line in made.lines)


def test_a_switch_is_the_value_that_the_plan_has_for_it(tmp_path: Path) -> None:
    made = Reading("a tool", {"alpha_mask": True, "masked_loss": False}, "lora", tmp_path)
    made.rest()
    assert made.answers["data.masks"] == "alpha"
    assert [(line.name, line.status) for line in made.lines] == [
        ("alpha_mask", "changed"),
        ("masked_loss", "left"),
    ]
    files = Reading("a tool", {"masked_training": True}, "lora", tmp_path)
    files.rest()
    assert files.answers["data.masks"] == "files"


def test_values_that_no_plan_has_are_left_and_never_guessed() -> None:
    made = read_settings(
        "python train_network.py --optimizer_type=SGD --lr_scheduler=wavy --network_dim=0 --resolution=x"
    )
    left = {line.name: line.why for line in made.lines if line.status == "left"}
    assert left.keys() >= {"optimizer_type", "lr_scheduler", "network_dim", "resolution"}
    assert not {"optimizer.name", "lora.rank", "data.resolution"} & made.answers.keys()


def test_a_value_of_the_plan_that_does_not_fit_is_a_problem_of_it(tmp_path: Path, pictures: Path) -> None:
    made = _read("kohya", tmp_path, "base.model=builtin:tiny", f"data.path={pictures}", "train.steps=-3")
    with pytest.raises(PlanErrors):
        plan_of(made, "config.toml")
