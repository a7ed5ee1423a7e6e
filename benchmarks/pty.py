"""A program in a pseudo-terminal of a given size, with every chunk of its output and when it came."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import re
import select
import signal
import struct
import sys
import termios
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import psutil
import pyte

ROOT = str(Path(__file__).parents[1])
READ = 65536
# What pyte 0.8 would print as text or misread: private modes with an intermediate byte, OSC and DCS strings.
_FOREIGN = re.compile(
    rb"\x1b\[[<>=?!][0-9;]*[a-zA-Z]|\x1b\[[0-9;?]*\$[a-z]|\x1b\].*?(?:\x07|\x1b\\)|\x1bP.*?\x1b\\", re.S
)
_ANSWERS = (
    (re.compile(rb"\x1b\[0?c"), b"\x1b[?62;22c"),
    (re.compile(rb"\x1b\[6n"), b"\x1b[1;1R"),
    (re.compile(rb"\x1b\[\?2026\$p"), b"\x1b[?2026;0$y"),
)


@dataclass
class Terminal:
    """One running program. Times are seconds since its start; `chunks` holds (time, bytes)."""

    pid: int
    fd: int
    columns: int
    rows: int
    began: float
    chunks: list[tuple[float, bytes]] = field(default_factory=list)
    closed: bool = False

    @property
    def now(self) -> float:
        return time.perf_counter() - self.began

    def pump(self, seconds: float) -> int:
        """Take in output for this long, answering queries as a plain terminal does; returns the bytes."""
        end, total = time.perf_counter() + seconds, 0
        while (left := end - time.perf_counter()) > 0 and not self.closed:
            total += self.take(left)
        return total

    def pump_until(self, cells: int, seconds: float) -> None:
        """Take in output until the screen shows `cells` non-blank cells; RuntimeError after `seconds`."""
        end = time.perf_counter() + seconds
        while not self.closed and time.perf_counter() < end:
            if self.take(0.25) and self.filled() >= cells:
                return
        raise RuntimeError(f"no {cells} cells on the screen after {self.now:.0f} s:\n{self.text()}")

    def take(self, seconds: float) -> int:
        """One chunk of output if any comes within `seconds`, queries answered; returns its bytes."""
        adapted, _, _ = select.select([self.fd], [], [], seconds)
        if not adapted:
            return 0
        try:
            data = os.read(self.fd, READ)
        except OSError:  # EIO: the program has left
            data = b""
        if not data:
            self.closed = True
            return 0
        self.chunks.append((self.now, data))
        for query, answer in _ANSWERS:
            if query.search(data):
                os.write(self.fd, answer)
        return len(data)

    def send(self, keys: bytes) -> None:
        """Type."""
        os.write(self.fd, keys)

    def text(self, count: int | None = None) -> str:
        """The screen after the first `count` chunks (default: all)."""
        screen = pyte.Screen(self.columns, self.rows)
        stream = pyte.ByteStream(screen)
        stream.feed(_FOREIGN.sub(b"", b"".join(data for _, data in self.chunks[:count])))
        return "\n".join(cast("list[str]", screen.display))

    def filled(self, count: int | None = None) -> int:
        """Non-blank cells of `text(count)`."""
        return sum(not cell.isspace() for cell in self.text(count))

    def first_paint(self, cells: int) -> float:
        """When the screen first showed this many non-blank cells; read after the fact, so it costs no time."""
        for count in range(1, len(self.chunks) + 1):
            if self.filled(count) >= cells:
                return self.chunks[count - 1][0]
        raise RuntimeError(f"never {cells} cells on the screen:\n{self.text()}")

    def cpu_seconds(self) -> float:
        """Processor time of the program and its children so far."""
        process = psutil.Process(self.pid)
        family = [process, *process.children(recursive=True)]
        return sum(sum(item.cpu_times()[:2]) for item in family)

    def resident_bytes(self) -> int:
        """Resident memory of the program itself."""
        return int(psutil.Process(self.pid).memory_info().rss)

    def leave(self, key: bytes = b"\x11", seconds: float = 15.0) -> None:
        """Ask it to quit (ctrl+q), a third of the time later by SIGTERM, at last by SIGKILL; collects its pid."""
        began = time.perf_counter()
        end, told = began + seconds, False
        with contextlib.suppress(OSError):
            self.send(key)
        while time.perf_counter() < end:
            if os.waitpid(self.pid, os.WNOHANG)[0]:
                break
            if not told and time.perf_counter() > began + seconds / 3:
                told = True
                os.kill(self.pid, signal.SIGTERM)
            if self.closed:
                time.sleep(0.02)
            else:
                self.take(0.05)
        else:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        os.close(self.fd)


@contextlib.contextmanager
def terminal(
    argv: Sequence[str], columns: int, rows: int, extra: Mapping[str, str] | None = None
) -> Iterator[Terminal]:
    """`argv` in a pty of this size with a plain truecolor UTF-8 environment; asked to quit at the end."""
    env = {key: value for key, value in os.environ.items() if key not in ("NO_COLOR", "TMUX", "TEXTUAL")}
    env |= {"TERM": "xterm-256color", "COLORTERM": "truecolor", "LC_ALL": "C.UTF-8", **(extra or {})}
    env["PYTHONPATH"] = os.pathsep.join(filter(None, [env.get("PYTHONPATH"), ROOT]))
    began = time.perf_counter()
    pid, fd = pty.fork()
    if pid == 0:
        fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        try:
            os.execvpe(argv[0], list(argv), env)
        finally:
            os._exit(127)
    running = Terminal(pid, fd, columns, rows, began)
    try:
        yield running
    finally:
        running.leave()


def keep(argv: Sequence[str], columns: int = 80, rows: int = 24) -> None:
    """Run `argv` in a pty, throwing away what it paints, until this process's stdin ends or it leaves."""
    with terminal(argv, columns, rows) as screen:
        while not screen.closed:
            adapted, _, _ = select.select([screen.fd, sys.stdin], [], [])
            if sys.stdin in adapted:
                return
            screen.take(0.0)
            screen.chunks.clear()


if __name__ == "__main__":
    keep(sys.argv[1:])
