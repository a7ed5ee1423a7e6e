"""One run from its plan to its files: open, train, export; what goes wrong becomes an event and an exit code."""

from __future__ import annotations

import traceback
from typing import Final

import torch

from engine.errors import UserError
from engine.files import is_disk_full, waiting
from engine.plan.files import load_stored
from engine.plan.problems import Problem
from engine.plan.schema import Plan
from engine.run import codes
from engine.run.events import EventWriteError
from engine.run.paths import RunDir
from engine.run.place import is_gone
from engine.train import checkpoint
from engine.worker.commands import Commands
from engine.worker.disk_full import DiskFull
from engine.worker.fit_at_start import fitted
from engine.worker.heartbeat import Heartbeat
from engine.worker.library_logs import silence
from engine.worker.remedies import out_of_memory
from engine.worker.states import FolderGone, Opening, Run, State, StopRequested
from engine.worker.telling import Telling
from engine.worker.waiting_writer import WaitingWriter, log

RESUME: Final = "`sdtrain resume` goes on from the last checkpoint"


def work(run: RunDir) -> int:
    """The whole worker process; returns its exit code (engine.run.codes)."""
    silence()
    with WaitingWriter(run.events_file) as writer, Heartbeat(writer) as heartbeat:
        telling = Telling(run, writer, heartbeat)
        try:
            commands = Commands(run, telling)
            commands.listen()
            writer.leaving = commands.leaving
            with waiting(DiskFull(telling, commands)):
                plan, unread = load_stored(run.plan_file)
                return _go(Run(run, plan, commands, telling), unread)
        except Exception as error:  # noqa: BLE001 - the process edge: everything becomes an event and a log
            if is_gone(run):
                return _gone(error)
            return _failed(telling, *_reason(error, RESUME))


def _go(run: Run, unread: list[Problem]) -> int:
    telling = run.telling
    saved, broken = checkpoint.latest(run.folder.checkpoints)
    if saved is not None:
        telling.begin_at(saved.step)
    telling.started(run.plan, resumed=saved is not None)
    for problem in unread:
        telling.warning("plan-key-not-read", f"{problem.key} {problem.what}: {problem.why}")
    for text in broken:
        telling.warning("broken-checkpoint", f"an older checkpoint is used, because {text}")
    state: State = Opening(run)
    try:
        run.plan = fitted(run.folder, run.plan, telling, begun=saved is not None)
        opening = state = Opening(run)
        state = running = opening.open(saved)
        running.train()
        running.save()
        telling.phase("exporting", "writing the output files")
        running.export()
        run.commands.refuse("the run has just finished")
    except StopRequested as stop:
        state.save()
        telling.stopped(str(stop))
        run.commands.stopped()
        return codes.STOPPED
    except Exception as error:  # noqa: BLE001 - whatever it is, what was learned is saved first
        if is_gone(run.folder):
            return _gone(error)
        phase = telling.doing
        said = state.rescue()
        then = f"{said}; {RESUME}" if said else RESUME
        return _failed(telling, *_reason(error, then, run.plan, phase))
    telling.finished()
    return codes.DONE


def _reason(
    error: Exception, then: str, plan: Plan | None = None, phase: str = "loading"
) -> tuple[int, UserError]:
    """The exit code and the words for what ended the run; `then` says what becomes of it."""
    if isinstance(error, UserError):
        fix = error.fix if then == RESUME else f"{error.fix}; {then}" if error.fix else then
        return codes.BAD_INPUT, UserError(error.what, error.why, fix)
    if isinstance(error, torch.OutOfMemoryError | MemoryError) and plan is not None:
        host = isinstance(error, MemoryError)
        return codes.OUT_OF_MEMORY, out_of_memory(plan, phase, host, str(error), then)
    if isinstance(error, OSError) and is_disk_full(error):
        return codes.DISK_FULL, UserError("the disk is full", str(error), f"free some space, then {then}")
    if isinstance(error, OSError) and error.filename is not None and error.errno:
        where = f"{error.filename}: {error.strerror}"
        return codes.FAILED, UserError(
            "a file cannot be read or written", where, f"look at its disk and its rights; {then}"
        )
    traceback.print_exception(error)
    what = "the engine met an error it does not know"
    return codes.FAILED, UserError(what, repr(error), f"the whole story is in engine.log; {then}")


def _failed(telling: Telling, code: int, error: UserError) -> int:
    log("\n".join(error.lines()))
    try:
        telling.failed(code, error)
    except EventWriteError as second:
        log(f"and no event can be written: {second}")
    return code


def _gone(error: Exception) -> int:
    """The folder was removed: engine.log still has its descriptor, events have nobody to read them."""
    where = f" ({error})" if isinstance(error, FolderGone) else ""
    log(f"the run's folder was removed{where}: nothing is saved, and the engine leaves")
    return codes.FAILED
