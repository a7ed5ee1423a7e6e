"""Commands reach the engine once each, from any number of senders, and torn lines harm none."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from engine.errors import UserError
from engine.run.control import ControlReader, send
from engine.run.control_commands import COMMANDS, Pause, Sample, Save, Stop
from engine.run.events import EventWriter
from engine.run.paths import RunDir
from tests.run.engine_fakes import child_env
from tests.support.events import raw


def test_commands_arrive_once_and_in_order_with_their_fields(tmp_path: Path) -> None:
    run = RunDir(tmp_path)
    reader = ControlReader(run.control_file)
    assert reader.poll() == []
    ids = [send(run, command()) for command in COMMANDS.values()] + [send(run, Sample(prompt="a cat"))]
    commands = reader.poll()
    assert [command["id"] for command in commands] == ids
    assert [command["cmd"] for command in commands] == [*COMMANDS, "sample"]
    assert commands[-1]["prompt"] == "a cat"
    assert reader.poll() == []


def test_commands_that_the_events_answer_are_not_done_again_after_a_restart(tmp_path: Path) -> None:
    run = RunDir(tmp_path)
    first, second = send(run, Save()), send(run, Pause())
    with EventWriter(run.events_file) as writer:
        writer.emit(raw("command", id=first, cmd="save", status="accepted", text=""))
    assert [command["id"] for command in ControlReader(run.control_file).poll()] == [second]


def test_a_torn_line_costs_only_itself(tmp_path: Path) -> None:
    run = RunDir(tmp_path)
    send(run, Save())
    whole = run.control_file.read_bytes()
    for cut in range(len(whole) - 1):
        run.control_file.write_bytes(whole[:cut])
        ident = send(run, Stop())
        assert [command["id"] for command in ControlReader(run.control_file, ()).poll()] == [ident], cut


def test_lines_that_are_no_commands_are_passed_over(tmp_path: Path) -> None:
    run = RunDir(tmp_path)
    run.control_file.write_bytes(b'7\n{"id":1,"cmd":"stop"}\n{"id":"a"}\n\xff\n{"id":"b","cmd":[]}\n')
    ident = send(run, Stop())
    assert [command["id"] for command in ControlReader(run.control_file).poll()] == [ident]


def test_senders_in_several_processes_lose_nothing(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path\n"
        "from engine.run.control import send; from engine.run.control_commands import Save\n"
        "from engine.run.paths import RunDir\n"
        "for _ in range(100): print(send(RunDir(Path(sys.argv[1])), Save()))"
    )
    senders = [
        subprocess.Popen(
            [sys.executable, "-P", "-c", code, str(tmp_path)], stdout=subprocess.PIPE, env=child_env()
        )
        for _ in range(3)
    ]
    sent = [ident for sender in senders for ident in sender.communicate()[0].decode().split()]
    got = [command["id"] for command in ControlReader(RunDir(tmp_path).control_file).poll()]
    assert len(set(sent)) == 300
    assert sorted(got) == sorted(sent)


def test_a_command_that_cannot_be_written_is_an_error_for_the_user(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="could not be written"):
        send(RunDir(tmp_path / "none"), Stop())
