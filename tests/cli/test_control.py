"""stop, pause, resume, save, sample: what is sent, what is waited for, and the exit codes."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.conftest import Cli, FakeEngine, fabricate


def test_stop_waits_until_the_engine_has_left(cli: Cli, engine: FakeEngine) -> None:
    done = cli("stop", "living")
    assert done.code == 0 and "stopped" in done.out
    assert [command["cmd"] for command in engine.seen] == ["stop"]
    again = cli("stop", "living")
    assert again.code == 2 and "sdtrain resume living" in again.err


def test_stop_without_waiting_only_sends_it(cli: Cli, pictures: Path, home: Path) -> None:
    with FakeEngine(fabricate("busy", pictures)) as busy:
        assert cli("stop", "busy", "--no-wait").code == 0
        assert busy.run.control_file.read_text().count('"cmd":"stop"') == 1


def test_pause_and_resume_are_answered(cli: Cli, engine: FakeEngine) -> None:
    assert cli("pause", "living", "--json").json["state"] == "paused"
    assert cli("list", "--json").json[0]["state"] == "paused"
    done = cli("resume", "living", "--json")
    assert done.code == 0 and done.json["status"] == "done" and done.json["state"] != "paused"
    assert cli("resume", "living").code == 2


def test_save_names_the_checkpoint(cli: Cli, engine: FakeEngine) -> None:
    done = cli("save", "living")
    assert done.code == 0 and str(engine.run.path / "checkpoints/step-00000004") in done.out


def test_sample_sends_the_prompt_and_names_the_picture(cli: Cli, engine: FakeEngine) -> None:
    data = cli("sample", "living", "--prompt", "a blue dog", "--json").json
    assert data["pictures"] == [str(engine.run.path / "samples/b.png")]
    assert engine.seen[0]["prompt"] == "a blue dog"
    cli("sample", "living")
    assert "prompt" not in engine.seen[1]


def test_a_refusal_is_a_failure(cli: Cli, pictures: Path, home: Path) -> None:
    with FakeEngine(fabricate("stubborn", pictures), refuse=True):
        done = cli("save", "stubborn")
    assert done.code == 1 and "not now" in done.err


def test_no_answer_in_time_is_said(cli: Cli, pictures: Path, home: Path) -> None:
    from engine.run.lock import RunLock

    lock = RunLock(fabricate("silent", pictures).lock_file)
    with lock:
        assert lock.acquire()
        done = cli("pause", "silent", "--wait", "0.1", "--json")
        assert done.code == 0 and done.json["status"] == "sent"
        assert cli("stop", "silent", "--wait", "0.1").code == 1


@pytest.mark.parametrize("name", ["stop", "pause", "save", "sample"])
def test_a_run_without_an_engine_cannot_be_asked(cli: Cli, pictures: Path, name: str) -> None:
    fabricate("gone", pictures, kind="finished", step=4, seconds=1.0)
    done = cli(name, "gone")
    assert done.code == 2 and "finished" in done.err


def test_a_finished_run_is_not_started_again(cli: Cli, pictures: Path) -> None:
    fabricate("gone", pictures, kind="finished", step=4, seconds=1.0)
    done = cli("resume", "gone")
    assert done.code == 2 and "finished" in done.err
