"""A run goes on with more steps and from moved folders, with the bits of one that had them all along; what would not be
honest is refused by name."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from engine.plan.methods import METHODS
from engine.plan.schema import plan_fields
from engine.planning.resuming import changeable
from engine.run.paths import RunDir
from sdtrain_tui.commands import resume
from tests.cli.conftest import Cli
from tests.support.pictures import write_pictures
from tests.support.runs import events_of, new_run, quick_plan, view_of, work_to_end

HARDWARE = "device fit gradient_checkpointing idle_parts checkpointed_blocks swapped_blocks offload_activations threads"


@pytest.fixture(autouse=True)
def _here(monkeypatch: pytest.MonkeyPatch) -> None:
    """The worker runs in this process, so that a resume takes no time for imports."""
    monkeypatch.setattr(resume, "launch", work_to_end)


def state_of(run: RunDir, step: int) -> dict[str, bytes]:
    """Weights and moments of a checkpoint."""
    folder = run.checkpoints / f"step-{step:08d}"
    return {name: (folder / name).read_bytes() for name in ("weights.safetensors", "optimizer.safetensors")}


def losses(run: RunDir) -> list[tuple[int, float]]:
    return [(event["step"], event["loss"]) for event in events_of(run) if event["kind"] == "step"]


@pytest.mark.parametrize("schedule", ["constant", "inverse_sqrt"])
def test_three_steps_made_six_are_six(schedule: str, cli: Cli, small_sd1: Path, pictures: Path) -> None:
    changes: dict[str, object] = {"train__schedule": schedule, "train__warmup": 2, "data__flip": True}
    whole = new_run(quick_plan(small_sd1, pictures, name="whole", train__steps=6, **changes))
    short = new_run(quick_plan(small_sd1, pictures, name="short", train__steps=3, **changes))
    work_to_end(whole)
    work_to_end(short)
    done = cli("resume", "short", "--steps", "6")
    assert done.code == 0, done.err
    assert "train.steps = 6 (was 3)" in done.out and "the schedule" not in done.out
    assert state_of(short, 6) == state_of(whole, 6)
    assert losses(short) == losses(whole)
    view = view_of(short)
    assert view.finished is not None and view.total_steps == 6
    assert [event["after"] for event in events_of(short) if event["kind"] == "replanned"] == ["6"]
    assert any("train.steps = 6 from here on" in line.text for line in view.log)


def test_a_schedule_that_ends_with_the_run_is_stretched_and_says_so(
    cli: Cli, small_sd1: Path, pictures: Path
) -> None:
    run = new_run(quick_plan(small_sd1, pictures, name="short", train__steps=4, train__schedule="cosine"))
    work_to_end(run)
    done = cli("resume", "short", "--steps", "8")
    assert (
        "the schedule cosine now ends at step 8: step 5 has 0.5 times learning_rate, after 0.146 at"
        in done.out
    )
    rates = [event["lr"] for event in events_of(run) if event["kind"] == "step"]
    assert rates[4] == pytest.approx(rates[0] / 2)


def test_a_moved_folder_is_given_and_the_bits_stay(cli: Cli, small_sd1: Path, pictures: Path) -> None:
    whole = new_run(quick_plan(small_sd1, pictures, name="whole", train__steps=4))
    run = new_run(quick_plan(small_sd1, pictures, name="moved", train__steps=2))
    work_to_end(whole)
    work_to_end(run)
    elsewhere = pictures.rename(pictures.with_name("elsewhere"))
    refused = cli("resume", "moved", "--steps", "4")
    assert refused.code == 2 and "the folder does not exist" in refused.err
    assert "replanned" not in {event["kind"] for event in events_of(run)}
    others = write_pictures(pictures.with_name("others"), count=3)
    refused = cli("resume", "moved", "--steps", "4", "--set", f"data.path={others}")
    assert refused.code == 2 and "data.path leads to other files" in refused.err
    assert not run.earlier_plans.exists()
    before = run.plan_file.read_bytes()
    done = cli("resume", "moved", "--steps", "4", "--set", f"data.path={elsewhere}")
    assert done.code == 0, done.err
    assert state_of(run, 4) == state_of(whole, 4)
    assert (run.earlier_plans / "0001.toml").read_bytes() == before


def test_a_run_whose_checkpoint_is_gone_does_not_begin_anew(
    cli: Cli, small_sd1: Path, pictures: Path
) -> None:
    run = new_run(quick_plan(small_sd1, pictures, name="gone", train__steps=1))
    work_to_end(run)
    shutil.rmtree(run.checkpoints / "step-00000001")
    done = cli("resume", "gone", "--steps", "2")
    assert done.code == 2 and "no checkpoint of step 1" in done.err


@pytest.mark.parametrize(
    "change",
    [
        "train.learning_rate=1",
        "seed=8",
        "lora.rank=2",
        "data.resolution=128",
        "train.batch_size=3",
        "data.flip=true",
        "validation.path=here",
        "base.vae=here",
    ],
)
def test_what_would_not_be_honest_is_refused_by_name(
    change: str, cli: Cli, small_sd1: Path, pictures: Path
) -> None:
    run = new_run(quick_plan(small_sd1, pictures, name="quick", train__steps=1))
    work_to_end(run)
    before = run.plan_file.read_bytes()
    done = cli("resume", "quick", "--steps", "2", "--set", change)
    assert done.code == 2
    assert f"{change.partition('=')[0]} cannot change while a run goes on" in done.err
    assert run.plan_file.read_bytes() == before


def test_steps_below_what_is_done_and_none_to_do_are_refused(
    cli: Cli, small_sd1: Path, pictures: Path
) -> None:
    work_to_end(new_run(quick_plan(small_sd1, pictures, name="quick", train__steps=3)))
    assert "less than the run has done" in cli("resume", "quick", "--steps", "2").err
    done = cli("resume", "quick", "--set", "samples.every=2")
    assert done.code == 2 and "--steps 6" in done.err
    assert "must be at least 1" in cli("resume", "quick", "--steps", "0").err


def test_the_fields_that_may_change_are_these() -> None:
    sections = ("samples.", "checkpoints.", "output.")
    for method in METHODS:
        keys = {field.key for field in plan_fields(method)}
        wanted = {key for key in keys if key.startswith(sections)}
        wanted |= {"train.steps", "train.epochs", "base.allow_download"} | {
            f"hardware.{name}" for name in HARDWARE.split()
        }
        wanted |= {"base.model", "base.tokenizer", "base.vae", "data.path", "data.class_path"}
        wanted |= {
            "captions.folder",
            "data.mask_path",
            "validation.path",
            "validation.keep_best",
            "validation.stop_after",
        }
        wanted |= {f"{method}.{name}" for name in METHODS[method].options.path_fields}
        assert set(changeable(method)) == wanted
        assert all(changeable(method).values())


def test_json_says_the_run_alone_on_stdout(cli: Cli, small_sd1: Path, pictures: Path) -> None:
    run = new_run(quick_plan(small_sd1, pictures, name="quick", train__steps=1))
    work_to_end(run)
    done = cli("resume", "quick", "--steps", "2", "--json")
    assert json.loads(done.out)["run"] == "quick" and "train.steps = 2" in done.err
