"""Makes the k-th call that changes a file fail, or end the process right there, in a process of its own.

What changes files is counted where Python asks the system for it: `os` (open for writing, write, fsync, rename,
replace, link, mkdir, symlink, ftruncate, pwrite) and every file that `open` opens for writing. Only calls on paths
below one folder count. Reading never fails, and neither does removing: a disk that is full still lets one remove.
"""

from __future__ import annotations

import builtins
import errno
import io
import os
import signal
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT})
KILL: Final = 0
"""Instead of an error number: the process is ended in the middle of the call."""
FAULTS: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EACCES, KILL)
_PATHS: Final = ("rename", "replace", "link", "mkdir", "symlink")


@dataclass
class Faults:
    """Counts calls below `root`; the `at`-th (from 1) meets the `fault`, where one is asked for.

    A full disk or quota stays full for what comes after, if it `stays_full`; else it is over after the one call.
    """

    root: Path
    fault: int = -1
    at: int = 0
    stays_full: bool = True
    calls: int = 0
    halved: bool = False
    """Whether a write was only a part once: who tries again meets the fault itself."""
    paths: list[str] = field(default_factory=list)
    """What each call was made on."""

    def hit(self, path: object, half: Callable[[], object] | None = None) -> None:
        """One call on `path`; `half` does a part of what it is for, which a failing disk may do too."""
        where = self.named(path)
        if not self._inside(where):
            return
        self.calls += 1
        self.paths.append(where)
        lasting = self.stays_full and self.fault in FULL and self.calls > self.at > 0
        if self.fault < 0 or not (self.calls == self.at or lasting):
            return
        if half is not None and not lasting:
            half()
        if self.fault == KILL:
            os.kill(os.getpid(), signal.SIGKILL)
        raise OSError(self.fault, os.strerror(self.fault), str(path))

    def named(self, path: object) -> str:
        """The absolute path of a path or a descriptor; nothing for a descriptor of none."""
        if isinstance(path, int):
            try:
                path = os.readlink(f"/proc/self/fd/{path}")  # noqa: PTH115
            except OSError:
                return ""
        return os.path.abspath(os.fsdecode(path))  # type: ignore[arg-type]  # noqa: PTH100

    def below(self, path: object) -> bool:
        """Is it a path, or a descriptor of one, in the folder?"""
        return self._inside(self.named(path))

    def _inside(self, where: str) -> bool:
        return bool(where) and Path(where).is_relative_to(self.root)

    def install(self) -> None:
        """For the rest of this process."""
        for name in _PATHS:
            setattr(os, name, self._path_call(getattr(os, name)))
        real_open, real_write, real_pwrite = os.open, os.write, os.pwrite
        real_fsync, real_truncate = os.fsync, os.ftruncate

        def open_(path: Any, flags: int, *more: Any, **named: Any) -> int:
            if flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
                self.hit(path)
            return real_open(path, flags, *more, **named)

        def write(fd: int, data: Any) -> int:
            # The system says that it wrote a part, and the next call fails.
            view = memoryview(data)
            if (
                self.fault in (*FULL, errno.EFBIG)
                and self.calls + 1 == self.at
                and not self.halved
                and len(view) > 1
                and self.below(fd)
            ):
                self.calls += 1
                self.halved = True
                self.at += self.fault == errno.EFBIG or not self.stays_full
                return real_write(fd, view[: len(view) // 2])
            self.hit(fd, (lambda: real_write(fd, view[: len(view) // 2])) if self.fault == KILL else None)
            return real_write(fd, data)

        def pwrite(fd: int, data: Any, offset: int) -> int:
            self.hit(fd)
            return real_pwrite(fd, data, offset)

        def fsync(fd: int) -> None:
            self.hit(fd)
            real_fsync(fd)

        def ftruncate(fd: int, length: int) -> None:
            self.hit(fd)
            real_truncate(fd, length)

        os.open, os.write, os.pwrite, os.fsync, os.ftruncate = open_, write, pwrite, fsync, ftruncate  # type: ignore[assignment]
        self._install_open()

    def _path_call(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*given: Any, **named: Any) -> Any:
            self.hit(given[-1] if real.__name__ in ("symlink", "link") else given[0])
            return real(*given, **named)

        return call

    def _install_open(self) -> None:
        real = io.open
        faults = self

        class Raw(io.FileIO):
            """A file whose writes count."""

            def write(self, data: Any) -> int:
                view = memoryview(data)
                faults.hit(self.name, lambda: super(Raw, self).write(view[: len(view) // 2]))
                return super().write(data) or 0

        def open_(
            file: Any,
            mode: str = "r",
            buffering: int = -1,
            encoding: str | None = None,
            errors: str | None = None,
            newline: str | None = None,
            closefd: bool = True,
            opener: Any = None,
        ) -> Any:
            if not set(mode) & set("wax+") or isinstance(file, int) or not self.below(file):
                return real(file, mode, buffering, encoding, errors, newline, closefd, opener)
            self.hit(file)
            raw = Raw(file, mode.replace("b", "").replace("t", ""), closefd, opener)
            if buffering == 0:
                return raw
            buffered = io.BufferedRandom(raw) if "+" in mode else io.BufferedWriter(raw)
            return buffered if "b" in mode else io.TextIOWrapper(buffered, encoding, errors, newline)

        io.open = builtins.open = open_
