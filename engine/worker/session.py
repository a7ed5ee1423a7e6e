"""One run from its plan to its files: open, train, export; what goes wrong becomes an event and an exit code."""

from __future__ import annotations

import sys
import traceback

import torch

from engine.errors import UserError
from engine.files import is_disk_full
from engine.plan.files import load_stored
from engine.plan.problems import Problem
from engine.run import codes
from engine.run.control import ControlReader
from engine.run.paths import RunDir
from engine.train import checkpoint
from engine.worker.commands import Commands
from engine.worker.disk_full import WaitingWriter
from engine.worker.heartbeat import Heartbeat
from engine.worker.library_logs import silence
from engine.worker.states import Opening, Run, State, StopRequested
from engine.worker.telling import Telling


def work(run: RunDir) -> int:
    """The whole worker process; returns its exit code (engine.run.codes)."""
    silence()
    with WaitingWriter(run.events_file) as writer, Heartbeat(writer) as heartbeat:
        telling = Telling(run, writer, heartbeat)
        try:
            commands = Commands(ControlReader(run.control_file), telling)
            commands.listen()
            writer.leaving = lambda: commands.signalled
            plan, unread = load_stored(run.plan_file)
            return _go(Run(run, plan, commands, telling), unread)
        except UserError as error:
            return _failed(telling, codes.BAD_INPUT, error)
        except torch.OutOfMemoryError as error:
            fix = "lower train.batch_size or data.resolution, set hardware.gradient_checkpointing = true, then resume"
            return _failed(
                telling, codes.OUT_OF_MEMORY, UserError("the device is out of memory", str(error), fix)
            )
        except OSError as error:
            if is_disk_full(error):
                fix = "free some space, then: sdtrain resume"
                return _failed(telling, codes.DISK_FULL, UserError("the disk is full", str(error), fix))
            return _unexpected(telling, error)
        except Exception as error:  # noqa: BLE001 - the process edge: everything else becomes an event and a log
            return _unexpected(telling, error)


def _go(run: Run, unread: list[Problem]) -> int:
    telling = run.telling
    saved, broken = checkpoint.latest(run.folder.checkpoints)
    telling.started(run.plan, resumed=saved is not None)
    for problem in unread:
        telling.warning("plan-key-not-read", f"{problem.key} {problem.what}: {problem.why}")
    for text in broken:
        telling.warning("broken-checkpoint", f"an older checkpoint is used, because {text}")
    opening = Opening(run)
    state: State = opening
    try:
        state = running = opening.open(saved)
        running.train()
    except StopRequested as stop:
        state.save()
        telling.stopped(str(stop))
        run.commands.stopped()
        return codes.STOPPED
    running.save()
    telling.phase("exporting", "writing the output files")
    running.export()
    telling.finished()
    return codes.DONE


def _failed(telling: Telling, code: int, error: UserError) -> int:
    print("\n".join(error.lines()), file=sys.stderr, flush=True)
    telling.failed(code, error)
    return code


def _unexpected(telling: Telling, error: Exception) -> int:
    traceback.print_exception(error)
    fix = "the whole story is in engine.log; `sdtrain resume` goes on from the last checkpoint"
    return _failed(
        telling, codes.FAILED, UserError("the engine met an error it does not know", repr(error), fix)
    )
