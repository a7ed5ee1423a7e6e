"""new, check, estimate, data, schema: files, exit codes and JSON."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import pytest

from engine.plan.files import dumps, load_plan
from engine.plan.methods.lora import LoraOptions
from engine.planning.build import build, gather
from sdtrain_tui.commands import new
from tests.cli.conftest import Cli


def words_for(pictures: Path, *more: str) -> list[str]:
    return ["new", "--base", "builtin:tiny", "--data", str(pictures), *more]


def test_new_writes_the_plan_that_build_gives(cli: Cli, pictures: Path) -> None:
    done = cli(*words_for(pictures, "--steps", "50", "-o", "my.toml"))
    assert done.code == 0, done.err
    answers = {"base.model": "builtin:tiny", "data.path": str(pictures), "train.steps": 50}
    assert (cli.folder / "my.toml").read_text() == dumps(build(answers, gather(answers)).plan)
    assert "sdtrain run my.toml" in done.out
    assert "train.warmup" in done.out


def test_every_flag_reaches_its_field(cli: Cli, pictures: Path) -> None:
    flags = (
        "--name mine --method lora --trigger zqx --resolution 128 --steps 9 --batch-size 3 --learning-rate .002 "
        "--rank 5 --alpha 2.5 --allow-download --seed 7 "
        "--prompt one --prompt two --set data.flip=true --set samples.every=3"
    )
    done = cli(*words_for(pictures, *flags.split(), "-o", "my.toml"))
    assert done.code == 0, done.err
    plan = load_plan(cli.folder / "my.toml")
    assert (plan.name, plan.method, plan.seed, plan.data.trigger, plan.data.resolution) == (
        "mine",
        "lora",
        7,
        "zqx",
        128,
    )
    assert (plan.train.steps, plan.train.batch_size, plan.train.learning_rate) == (9, 3, 0.002)
    assert isinstance(plan.options, LoraOptions)
    assert (plan.options.rank, plan.options.alpha) == (5, 2.5)
    assert plan.base.allow_download
    assert plan.samples.prompts == ["one", "two"] and plan.data.flip and plan.samples.every == 3


def test_new_names_the_file_after_the_plan_and_never_overwrites(cli: Cli, pictures: Path) -> None:
    assert cli(*words_for(pictures)).code == 0
    file = cli.folder / "pictures-lora.toml"
    before = file.read_bytes()
    done = cli(*words_for(pictures, "--steps", "9"))
    assert done.code == 2 and "there already" in done.err
    assert file.read_bytes() == before
    assert cli(*words_for(pictures, "--steps", "9", "--force")).code == 0
    assert load_plan(file).train.steps == 9


def test_new_can_write_to_stdout(cli: Cli, pictures: Path) -> None:
    done = cli(*words_for(pictures, "-o", "-"))
    assert done.code == 0 and done.out.startswith("version = 1\n")
    assert list(cli.folder.iterdir()) == []


def test_new_as_json_tells_the_file_and_what_was_derived(cli: Cli, pictures: Path) -> None:
    data = cli(*words_for(pictures, "--json")).json
    assert data["plan"] == str(cli.folder / "pictures-lora.toml")
    derived = {item["key"]: item["value"] for item in data["derived"]}
    assert derived["data.resolution"] == 64
    assert all(item["why"] for item in data["derived"])
    assert data["problems"] == []


def test_new_without_a_terminal_names_the_flags_that_are_missing(cli: Cli, pictures: Path) -> None:
    done = cli("new", "--data", str(pictures))
    assert done.code == 2 and "--base is needed" in done.err
    assert "--base and --data" in cli("new").err


def test_a_plan_with_errors_is_not_written(cli: Cli, pictures: Path) -> None:
    done = cli(*words_for(pictures, "--set", "train.warmup=5000", "-o", "my.toml"))
    assert done.code == 2 and "train.warmup" in done.err
    assert not (cli.folder / "my.toml").exists()
    assert cli(*words_for(pictures, "--set", "train.warmup=5000", "-o", "my.toml", "--force")).code == 0


@pytest.mark.parametrize(
    "more",
    [
        ("--base", "builtin:no"),
        ("--steps", "many"),
        ("--rank", "0"),
        ("--set", "train.stepz=3"),
        ("--set", "x"),
    ],
)
def test_new_refuses_wrong_answers(cli: Cli, pictures: Path, more: tuple[str, ...]) -> None:
    done = cli(*words_for(pictures, "-o", "my.toml"), *more)
    assert done.code == 2 and done.err
    assert not (cli.folder / "my.toml").exists()


def test_on_a_terminal_too_few_flags_open_the_wizard_with_the_answers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    opened: list[dict[str, Any]] = []

    def open_app(**options: Any) -> int:
        opened.append(options)
        return 0

    monkeypatch.setattr(new, "has_terminal", lambda: True)
    monkeypatch.setattr(new, "open_app", open_app)
    parser = argparse.ArgumentParser()
    new.arguments(parser)
    assert new.run(parser.parse_args(["--data", "photos", "--steps", "9"])) == 0
    assert opened == [{"start": "wizard", "answers": {"data.path": "photos", "train.steps": 9}}]


def test_check_says_clean_with_0_and_problems_with_2(cli: Cli, plan_file: Path) -> None:
    clean = cli("check", str(plan_file))
    assert clean.code == 0 and "no problems" in clean.out
    wrong = cli("check", str(plan_file), "--set", "train.warmup=5000", "--set", "lora.alpha=900")
    assert wrong.code == 2
    assert "error: train.warmup" in wrong.out and "warning: lora.alpha" in wrong.out
    assert "1 error and 1 warning" in wrong.out


def test_check_with_only_warnings_is_clean(cli: Cli, plan_file: Path) -> None:
    done = cli("check", str(plan_file), "--set", "lora.alpha=900.0", "--json")
    assert done.code == 0 and done.json["ok"]
    assert [problem["key"] for problem in done.json["problems"]] == ["lora.alpha"]


def test_check_as_json(cli: Cli, plan_file: Path) -> None:
    data = cli("check", str(plan_file), "--json").json
    assert set(data) == {"plan", "name", "hash", "ok", "problems"}
    assert data["ok"] is True and data["problems"] == []


def test_a_plan_that_cannot_be_read_is_bad_input_in_json_too(cli: Cli, plan_file: Path) -> None:
    done = cli("check", str(plan_file), "--set", "train.stepz=5", "--set", "seed=-1", "--json")
    assert done.code == 2
    assert {problem["key"] for problem in done.json["error"]["problems"]} == {"train.stepz", "seed"}
    missing = cli("check", "nowhere.toml", "--json")
    assert missing.code == 2 and "nowhere.toml" in missing.json["error"]["what"]


def test_estimate_tells_memory_disk_and_why_there_is_no_time(cli: Cli, plan_file: Path) -> None:
    text = cli("estimate", str(plan_file))
    assert text.code == 0 and "UNet weights" in text.out and "not known before the first steps" in text.out
    data = cli("estimate", str(plan_file), "--json").json
    assert data["seconds"] is None and data["seconds_why"]
    assert data["vram_total"] == sum(size for _, size in data["vram_parts"])
    assert data["disk_total"] == sum(size for _, size in data["disk_parts"])


def test_estimate_follows_set(cli: Cli, plan_file: Path) -> None:
    small, large = (
        cli("estimate", str(plan_file), "--json", "--set", f"train.batch_size={size}").json for size in (1, 8)
    )
    assert large["vram_total"] > small["vram_total"]


def test_data_prints_the_report_and_only_reads(cli: Cli, pictures: Path) -> None:
    before = sorted((path.name, path.stat().st_mtime_ns) for path in pictures.iterdir())
    done = cli("data", str(pictures), "--resolution", "64")
    assert done.code == 0 and "6 pictures" in done.out
    assert cli("data", str(pictures), "--json").json["counts"]["images"] == 6
    assert sorted((path.name, path.stat().st_mtime_ns) for path in pictures.iterdir()) == before


def test_data_counts_masks_beside_and_elsewhere(cli: Cli, pictures: Path, tmp_path: Path) -> None:
    for folder in (pictures / "masks", tmp_path / "elsewhere"):
        folder.mkdir()
        (folder / "00.png").write_bytes((pictures / "00.png").read_bytes())
    beside = cli("data", str(pictures), "--masks", "files", "--json").json
    elsewhere = cli("data", str(pictures), "--mask-path", str(tmp_path / "elsewhere"), "--json").json
    assert beside["counts"]["masked"] == elsewhere["counts"]["masked"] == 1
    assert "1 with a mask" in cli("data", str(pictures), "--masks", "files").out
    assert cli("data", str(pictures), "--json").json["counts"]["masked"] == 0


def test_data_of_a_missing_folder_is_bad_input(cli: Cli) -> None:
    assert cli("data", "nowhere").code == 2
    assert cli("data", ".", "--resolution", "100").code == 2


def test_schema_is_json_and_the_page_is_markdown(cli: Cli) -> None:
    assert cli("schema").json["title"] == "sdtrain plan"
    assert cli("schema", "--markdown").out.startswith("# The plan\n")
    assert cli("schema", "--events").out == Path("docs/events.md").read_text(encoding="utf-8")


def test_doctor_as_json_has_every_part(cli: Cli) -> None:
    data = cli("doctor", "--json").json
    assert {"python", "system", "gpus", "packages", "terminal", "disk", "hub", "advice"} <= set(data)
    assert data["packages"]["pydantic"]
    assert all(set(item) == {"level", "what", "why", "fix"} for item in data["advice"])
    assert data["disk"]["runs"]["free"] > 0


def test_doctor_warns_about_a_terminal_without_screen_control(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", "dumb")
    whats = [item["what"] for item in cli("doctor", "--json").json["advice"]]
    assert "the app cannot be shown here" in whats
