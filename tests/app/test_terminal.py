"""The terminal stays whole: on signals, when it goes away, on broken input, on stray output."""

from __future__ import annotations

import errno
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from fcntl import ioctl
from pathlib import Path

import pytest

from sdtrain_tui.terminal import TolerantDecoder, TtyFile, TtyGone

ROOT = Path(__file__).parents[2]
APP = "import sys; from sdtrain_tui.app import SdtrainApp; sys.exit(SdtrainApp().run() or 0)"
NOISY = (
    "import os, warnings, logging\n"
    "from sdtrain_tui.app import SdtrainApp\n"
    "quiet = SdtrainApp.on_mount\n"
    "def noisy(self):\n"
    "    quiet(self)\n"
    "    os.write(1, b'C-LIBRARY-NOISE'); os.write(2, b'C-LIBRARY-ERROR')\n"
    "    print('PRINTED'); warnings.warn('WARNED'); logging.getLogger('x').warning('LOGGED')\n"
    "SdtrainApp.on_mount = noisy\n"
    "SdtrainApp().run()\n"
)


class Terminal:
    """A real pseudo-terminal with the app in it, in a session of its own."""

    def __init__(self, home: Path, code: str = APP, **environment: str) -> None:
        self.master, slave = pty.openpty()
        ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
        self.before = termios.tcgetattr(slave)
        self.slave = slave
        env = {**os.environ, "SDTRAIN_HOME": str(home), "TERM": "xterm-256color", "PYTHONPATH": str(ROOT)}
        self.process = subprocess.Popen(
            [sys.executable, "-c", code],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env={**env, **environment},
            start_new_session=True,
            cwd=home,
        )
        self.output = b""

    def read_until(self, wanted: bytes, seconds: float = 60.0) -> bytes:
        end = time.monotonic() + seconds
        while wanted not in self.output:
            assert time.monotonic() < end, (wanted, self.output[-2000:])
            self._read(0.1)
        return self.output

    def wait(self, seconds: float = 60.0) -> int:
        """The exit code; what is written until then is read."""
        end = time.monotonic() + seconds
        while self.process.poll() is None:
            assert time.monotonic() < end, self.output[-2000:]
            self._read(0.05)
        while self._read(0.05):
            pass
        return self.process.returncode

    def _read(self, seconds: float) -> bool:
        if self.master < 0 or not select.select([self.master], [], [], seconds)[0]:
            return False
        try:
            data = os.read(self.master, 65536)
        except OSError as error:
            if error.errno != errno.EIO:
                raise
            return False
        self.output += data
        return bool(data)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        for fd in (self.master, self.slave):
            if fd >= 0:
                os.close(fd)


@pytest.fixture
def terminals(home: Path) -> Iterator[list[Terminal]]:
    opened: list[Terminal] = []
    yield opened
    for terminal in opened:
        terminal.close()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_the_app_and_gives_the_terminal_back(
    number: signal.Signals, home: Path, terminals: list[Terminal]
) -> None:
    terminal = Terminal(home)
    terminals.append(terminal)
    terminal.read_until(b"No runs yet")
    terminal.process.send_signal(number)
    assert terminal.wait() == 0 or terminal.process.returncode == 128 + number
    assert b"\x1b[?1049l" in terminal.output and b"\x1b[?25h" in terminal.output
    assert b"\x1b[?1003l" in terminal.output
    assert termios.tcgetattr(terminal.slave)[:4] == terminal.before[:4]


def test_the_app_ends_when_its_terminal_goes_away_even_without_a_signal(
    home: Path, terminals: list[Terminal]
) -> None:
    ignoring = "import signal; signal.signal(signal.SIGHUP, signal.SIG_IGN)\n" + APP
    blind = "import asyncio; asyncio.SelectorEventLoop.add_signal_handler = lambda *a: None\n" + ignoring
    terminal = Terminal(home, blind)
    terminals.append(terminal)
    terminal.read_until(b"No runs yet")
    os.close(terminal.slave)
    os.close(terminal.master)
    terminal.master = terminal.slave = -1
    terminal.process.wait(60)


def test_an_old_mouse_report_does_not_end_the_app(home: Path, terminals: list[Terminal]) -> None:
    terminal = Terminal(home)
    terminals.append(terminal)
    terminal.read_until(b"No runs yet")
    os.write(terminal.master, b"\x1b[M" + bytes([32, 32 + 130, 40]))
    os.write(terminal.master, b"?")
    terminal.read_until(b"everywhere")
    os.write(terminal.master, b"\x1b")
    time.sleep(0.3)  # a lone escape byte is one only after a pause
    os.write(terminal.master, b"q")
    assert terminal.wait() == 0


def test_what_libraries_print_goes_to_the_log_and_not_to_the_screen(
    home: Path, terminals: list[Terminal]
) -> None:
    terminal = Terminal(home, NOISY)
    terminals.append(terminal)
    terminal.read_until(b"No runs yet")
    os.write(terminal.master, b"q")
    terminal.wait()
    for noise in (b"NOISE", b"C-LIBRARY", b"PRINTED", b"WARNED", b"LOGGED"):
        assert noise not in terminal.output
    log = (home / "tui.log").read_text()
    assert "C-LIBRARY-NOISE" in log and "C-LIBRARY-ERROR" in log and "WARNED" in log and "LOGGED" in log


def test_ctrl_c_leaves_the_wizard_without_a_question(home: Path, terminals: list[Terminal]) -> None:
    terminal = Terminal(home, APP.replace("SdtrainApp()", "SdtrainApp(start='wizard')"))
    terminals.append(terminal)
    terminal.read_until(b"What do you want")
    os.write(terminal.master, b"\x03")
    assert terminal.wait() == 0
    assert termios.tcgetattr(terminal.slave)[:4] == terminal.before[:4]


def test_a_bug_is_told_in_one_line_with_the_place_of_the_details(
    home: Path, terminals: list[Terminal]
) -> None:
    broken = "from sdtrain_tui.screens import home\nhome.HomeScreen.on_mount = lambda self: 1 / 0\n" + APP
    terminal = Terminal(home, broken)
    terminals.append(terminal)
    assert terminal.wait() == 1
    assert b"runs go on" in terminal.output and b"ZeroDivisionError" not in terminal.output
    assert "ZeroDivisionError" in (home / "tui.log").read_text()


def test_bytes_that_are_no_utf8_are_replaced_and_the_end_of_input_is_told() -> None:
    decoder = TolerantDecoder()
    assert decoder.decode(b"\xc3") == "" and decoder.decode(b"\xa4") == "ä"
    assert decoder.decode(b"\xff") == "\ufffd"
    with pytest.raises(TtyGone):
        decoder.decode(b"")
    assert decoder.decode(b"", final=True) == ""


def test_writing_to_a_lost_terminal_is_silent() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    file = TtyFile(writer)
    assert file.write("x") == 1 and file.lost and file.write("more") == 4
    os.close(writer)


@pytest.mark.parametrize("module", ["sdtrain_tui.screens.home", "sdtrain_tui.screens.monitor"])
def test_screens_import_neither_torch_nor_what_only_the_wizard_needs(module: str) -> None:
    code = f"import sys, sdtrain_tui.app, {module}; print(*sorted(sys.modules))"
    loaded = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert not {"torch", "diffusers", "transformers", "peft", "pydantic", "numpy"} & set(
        loaded.stdout.split()
    )


def test_the_wizard_imports_no_torch() -> None:
    names = "wizard.base wizard.data wizard.draft screens.wizard screens.doctor"
    imports = ", ".join(f"sdtrain_tui.{name}" for name in names.split())
    code = f"import sys, engine.planning.build, engine.planning.check, {imports}; print(*sorted(sys.modules))"
    loaded = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert not {"torch", "diffusers", "transformers", "peft"} & set(loaded.stdout.split())
