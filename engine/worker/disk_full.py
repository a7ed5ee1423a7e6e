"""Waiting out a full disk: nothing learned is lost while somebody frees space."""

from __future__ import annotations

import errno
import os
import shutil
import time
from pathlib import Path

from engine.plan.units import size_text
from engine.worker.commands import Commands
from engine.worker.telling import Telling

POLL_S = 1.0
LONGEST_S = 30.0


class DiskFull:
    """Pauses the run while a disk is full: every writer of the process waits in here (engine.files.Patience)."""

    def __init__(self, telling: Telling, commands: Commands) -> None:
        self._telling = telling
        self._commands = commands
        self._told = False
        self._delay = POLL_S

    def full(self, error: OSError, path: Path, needed: int) -> None:
        """Wait until there is more room than now; raises `error` where the engine is asked to leave."""
        free = free_bytes(path)
        if self._leaving():
            raise error
        if not self._told:
            self._told = True
            self._telling.paused("disk-full", _text(error, path, needed, free))
        # Quotas and limits of a file's size show in no figure: there, and where a try has failed in spite of the
        # figures, only trying again tells. Less room than asked for may be enough, too.
        blind = error.errno != errno.ENOSPC or free >= needed
        end = time.monotonic() + self._delay
        self._delay = min(2 * self._delay, LONGEST_S)
        while not self._leaving():
            time.sleep(POLL_S)
            now = free_bytes(path)
            if (now >= needed and not blind) or ((now > free or blind) and time.monotonic() >= end):
                return
        raise error

    def over(self) -> None:
        """It is written: the run goes on."""
        if self._told:
            self._telling.unpaused()
        self._told, self._delay = False, POLL_S

    def _leaving(self) -> bool:
        return bool(self._commands.poll().stop)


def _text(error: OSError, path: Path, needed: int, free: int) -> str:
    where = path.absolute()
    what = f"{where} needs about {size_text(needed)}"
    if error.errno == errno.EFBIG:
        return f"a file is too large for its disk or for the limit of this process (ulimit -f): {what}"
    disk = f"{size_text(free)} are free at {mount_of(where)}"
    if error.errno == errno.EDQUOT:
        return f"your quota is used up: {what}; {disk}; free some space there"
    if free >= needed and not _free_files(path):
        return f"no more files can be made at {mount_of(where)}: remove some"
    return f"the disk is full: {what}, {disk}; free some space there"


def _existing(path: Path) -> Path:
    return next((each for each in (path, *path.absolute().parents) if each.exists()), Path("/"))


def free_bytes(path: Path) -> int:
    """What a user may still write where `path` lies or would lie."""
    return shutil.disk_usage(_existing(path)).free


def _free_files(path: Path) -> int:
    return os.statvfs(_existing(path)).f_favail


def mount_of(path: Path) -> Path:
    """The folder at which the disk of `path` begins."""
    found = _existing(path.absolute())
    while not found.is_mount() and found.parent != found:
        found = found.parent
    return found
