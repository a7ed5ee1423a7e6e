"""Bytes that reach the terminal, counted through a real pty: a live monitor is cheap, an idle one is silent."""

import fcntl
import os
import pty
import re
import select
import struct
import sys
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyte
import pytest

from tests.widgets.mock import MARK

ROOT = Path(__file__).parents[2]
STRANGE = re.compile(
    rb"\x1b\[[<>=?!][0-9;]*[a-zA-Z]|\x1b\[[0-9;?]*\$[a-z]|\x1b\].*?\x07|\x1bP.*?\x1b\\", re.S
)


class Terminal:
    """The monitor in a pty; `step` sends a key and returns the bytes up to its mark."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self.seen = b""
        self._rest = b""

    def step(self, key: str) -> bytes:
        os.write(self.fd, key.encode())
        return self._until_mark()

    def _until_mark(self) -> bytes:
        mark, data = MARK.encode(), self._rest
        deadline = time.monotonic() + 60
        while mark not in data:
            ready, _, _ = select.select([self.fd], [], [], max(0.0, deadline - time.monotonic()))
            assert ready, "the monitor fell silent"
            data += os.read(self.fd, 65536)
        painted, _, self._rest = data.partition(mark)
        self.seen += painted
        return painted

    def screen(self, columns: int, rows: int) -> str:
        screen = pyte.Screen(columns, rows)
        pyte.ByteStream(screen).feed(STRANGE.sub(b"", self.seen))
        return "\n".join(screen.display)


@contextmanager
def monitor(columns: int, rows: int, steps: int) -> Iterator[Terminal]:
    """The mock monitor after `steps` steps, painted for the first time."""
    pid, fd = pty.fork()
    if pid == 0:
        fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        env = {k: v for k, v in os.environ.items() if k not in ("NO_COLOR", "TMUX", "TEXTUAL")}
        env.update(TERM="xterm-256color", COLORTERM="truecolor", LC_ALL="C.UTF-8", OMP_NUM_THREADS="1")
        os.chdir(ROOT)
        os.execvpe(sys.executable, [sys.executable, "-m", "tests.widgets.mock", str(steps)], env)
    terminal = Terminal(fd)
    try:
        terminal.step("i")
        terminal.step("i")
        yield terminal
    finally:
        os.write(fd, b"\x11")  # ctrl+q
        _reap(pid, fd)


def _reap(pid: int, fd: int) -> None:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        if os.waitpid(pid, os.WNOHANG)[0]:
            break
        ready, _, _ = select.select([fd], [], [], 0.1)
        try:
            if ready:
                os.read(fd, 65536)
        except OSError:
            pass
    else:
        os.kill(pid, 9)
        os.waitpid(pid, 0)
    os.close(fd)


@pytest.mark.parametrize("steps", [40, 300, 1300])
def test_a_live_monitor_with_two_gpus_sends_at_most_two_kilobytes_a_second(steps: int) -> None:
    with monitor(80, 24, steps) as terminal:
        sizes = [len(terminal.step("t")) for _ in range(30)]
        assert f"step {steps + 30:,}/2,000" in terminal.screen(80, 24)
    print(f"bytes a tick from step {steps}: mean {sum(sizes) / 30:.0f}, max {max(sizes)}")
    assert sum(sizes) / 30 <= 2000
    assert min(sizes) > 0


def test_a_large_live_monitor_sends_at_most_four_kilobytes_a_second() -> None:
    with monitor(160, 48, 300) as terminal:
        sizes = [len(terminal.step("t")) for _ in range(30)]
    print(f"bytes a tick at 160x48: mean {sum(sizes) / 30:.0f}, max {max(sizes)}")
    assert sum(sizes) / 30 <= 4000


def test_a_monitor_without_news_sends_nothing() -> None:
    with monitor(80, 24, 300) as terminal:
        terminal.step("t")
        assert [terminal.step("i") for _ in range(10)] == [b""] * 10


def test_the_first_paint_stays_below_thirty_kilobytes() -> None:
    with monitor(80, 24, 1300) as terminal:
        print(f"bytes to the first paint: {len(terminal.seen)}")
        assert "running" in terminal.screen(80, 24)
        assert len(terminal.seen) <= 30_000
