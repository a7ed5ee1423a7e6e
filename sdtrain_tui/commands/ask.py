"""Asking a running engine for something and waiting for its answer: what the control commands share."""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import dataclass

from engine.errors import UserError
from engine.run.control import send
from engine.run.control_commands import Command
from engine.run.follow import Follower
from engine.run.lock import is_alive
from engine.run.paths import RunDir, find_run, handle
from engine.run.view import RunView, state
from sdtrain_tui.codes import DONE, FAILED
from sdtrain_tui.commands.texts import clean, print_json

POLL_S = 0.1
ANSWERED = ("done", "refused")


@dataclass(frozen=True)
class Answer:
    """`status` is done, refused, accepted (under way), sent (no answer yet) or left (the engine is gone)."""

    status: str
    text: str
    state: str
    before: RunView
    view: RunView


def control_arguments(parser: argparse.ArgumentParser, wait_s: float) -> None:
    """RUN, --wait and --json."""
    parser.add_argument("run", metavar="RUN", help="its name, its folder, or a part of either")
    parser.add_argument(
        "--wait",
        type=float,
        default=wait_s,
        metavar="SECONDS",
        help=f"how long to wait for it (default {wait_s:g})",
    )
    parser.add_argument("--json", action="store_true", help="print JSON")


def living(text: str) -> RunDir:
    """The run that is meant; UserError where no engine runs it."""
    run = find_run(text)
    if not is_alive(run):
        current = state(Follower(run).catch_up(), False, time.time())
        fix = (
            f"see it: sdtrain show {handle(run)}"
            if current == "finished"
            else f"start it: sdtrain resume {handle(run)}"
        )
        raise UserError(f"{run.name} is not running", f"it is {current}", fix)
    return run


def ask(run: RunDir, command: Command, wait_s: float, *, until_gone: bool = False) -> Answer:
    """Send a command and wait, `wait_s` seconds at most, for its answer or for the engine to leave."""
    follower = Follower(run)
    before = follower.catch_up()
    ident = send(run, command)
    deadline = time.monotonic() + wait_s
    while True:
        alive = is_alive(run)
        view = follower.catch_up()
        status = view.commands.get(ident, "sent")
        over = not alive or (status in ANSWERED and not (until_gone and status == "done"))
        if over or time.monotonic() >= deadline:
            current = state(view, alive, time.time())
            gone = "left" if not alive and status not in ANSWERED else status
            return Answer(gone, view.command_texts.get(ident, ""), current, before, view)
        time.sleep(POLL_S)


def tell(run: RunDir, cmd: str, answer: Answer, as_json: bool, more: dict[str, object] | None = None) -> int:
    """Print the answer; 1 for a refusal, or for an engine that left without doing it."""
    failed = answer.status == "refused" or (answer.status == "left" and cmd != "stop")
    if as_json:
        print_json(
            {
                "run": run.name,
                "command": cmd,
                "status": answer.status,
                "text": answer.text,
                "state": answer.state,
                **(more or {}),
            }
        )
    else:
        waiting = "the engine reads it after its present step" if answer.status == "sent" else ""
        text = "; ".join(part for part in (answer.text, waiting) if part)
        line = clean(f"{run.name}: {cmd} {answer.status}, {answer.state}" + (f" ({text})" if text else ""))
        print(line, file=sys.stderr if failed else sys.stdout)
    return FAILED if failed else DONE
