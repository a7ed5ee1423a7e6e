"""Keeps the terminal whole: signals, a vanished tty, broken mouse bytes and stray output never hurt the screen."""

from __future__ import annotations

import codecs
import contextlib
import logging
import os
import sys
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from textual.driver import Driver

LOG_LIMIT = 1_000_000
"""Bytes after which the log of the terminal app starts anew."""


class TtyGone(EOFError):
    """The terminal behind the app has hung up."""


class TtyFile:
    """The screen's own descriptor. Once writing fails, output is dropped: the writer thread must not die.

    Textual's writer thread ends on the first OSError, and its bounded queue then blocks the whole app.
    """

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self.lost = False

    def write(self, text: str) -> int:
        if not self.lost:
            try:
                data = text.encode("utf-8", "replace")
                while data:
                    data = data[os.write(self.fd, data) :]
            except OSError:
                self.lost = True
        return len(text)

    def flush(self) -> None:
        """Nothing is held back."""

    def fileno(self) -> int:
        return self.fd

    def isatty(self) -> bool:
        return True


class TolerantDecoder(codecs.IncrementalDecoder):
    """UTF-8 that survives X10 mouse bytes above 0x7F, and turns end of input into TtyGone.

    Source of the first: Textualize/textual#6668; a tty that hung up reads as an endless row of b"".
    """

    def __init__(self, errors: str = "replace") -> None:
        super().__init__("replace")
        self._inner = codecs.getincrementaldecoder("utf-8")("replace")

    def decode(self, data: Any, final: bool = False) -> str:
        if not data and not final:
            raise TtyGone
        return self._inner.decode(data, final)


@lru_cache(maxsize=8)
def safe_driver(base: type[Driver]) -> type[Driver]:
    """The driver for this terminal with the safeguards; other drivers (headless, web) are left as they are."""
    if base.__name__ != "LinuxDriver":
        return base
    from textual.drivers import linux_driver

    # The driver looks the decoder up in its own module, when its input thread starts.
    vars(linux_driver)["getincrementaldecoder"] = lambda _name: TolerantDecoder

    class SafeDriver(linux_driver.LinuxDriver):
        """LinuxDriver that leaves quietly when the terminal does."""

        def __init__(self, app: Any, **options: Any) -> None:
            super().__init__(app, **options)
            fd = _screen_fd()
            self._screen = fd
            self._file = cast(Any, TtyFile(fd))

        def _get_terminal_size(self) -> tuple[int, int]:
            try:
                size = os.get_terminal_size(self._screen)
            except OSError:
                return super()._get_terminal_size()
            return size.columns or 80, size.lines or 24

        def _run_input_thread(self) -> None:
            try:
                self.run_input_thread()
            except (TtyGone, OSError):
                self._app.call_later(self._app.exit, None, 129)

    return SafeDriver


_redirected: list[int] = []


def _screen_fd() -> int:
    """Descriptor of the real screen, also while 1 and 2 point into the log."""
    return _redirected[-1] if _redirected else 2


def log_file() -> Path:
    """Where the app's own log goes: $SDTRAIN_HOME, else $XDG_STATE_HOME/sdtrain, else ~/.local/state/sdtrain."""
    home = os.environ.get("SDTRAIN_HOME")
    if home:
        return Path(home) / "tui.log"
    state = os.environ.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
    return Path(state) / "sdtrain" / "tui.log"


def _open_log() -> int:
    path = log_file()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists() and path.stat().st_size > LOG_LIMIT:
            path.unlink()
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    except OSError:
        return os.open(os.devnull, os.O_WRONLY)


@contextlib.contextmanager
def guarded() -> Iterator[None]:
    """While it holds, descriptors 1 and 2, warnings and logging go to the log; only the driver has the screen."""
    sys.stdout.flush()
    sys.stderr.flush()
    saved = [os.dup(1), os.dup(2)]
    log = _open_log()
    handler = logging.StreamHandler(os.fdopen(os.dup(log), "w", encoding="utf-8"))
    handler.setFormatter(logging.Formatter("%(asctime)s %(name)s %(levelname)s %(message)s"))
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.close(log)
    _redirected.append(saved[1])
    logging.getLogger().addHandler(handler)
    logging.captureWarnings(True)
    try:
        yield
    finally:
        logging.captureWarnings(False)
        logging.getLogger().removeHandler(handler)
        handler.stream.close()
        with contextlib.suppress(OSError):
            sys.stdout.flush()
            sys.stderr.flush()
        _redirected.pop()
        for fd, copy in ((1, saved[0]), (2, saved[1])):
            os.dup2(copy, fd)
            os.close(copy)
