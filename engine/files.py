"""Reading and writing files so that a reader sees the old one or the new one, never a part."""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Protocol, TypeVar

from engine.errors import UserError
from engine.folders import fsync_dir

if TYPE_CHECKING:
    from concurrent.futures import Future

T = TypeVar("T")

_DISK_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


def is_disk_full(error: OSError) -> bool:
    """Whether `error` says that the disk, the quota or the file-size limit is used up."""
    return error.errno in _DISK_FULL


_NUMBER = re.compile(r"\(os error (\d+)\)")
_TEXTS = {os.strerror(number): number for number in _DISK_FULL}


@contextmanager
def os_errors(path: Path) -> Iterator[None]:
    """Raise as OSError what a library tells of the system only in words.

    safetensors and tokenizers say "(os error 28)" (Rust), torch says "failed with No space left on device".
    """
    try:
        yield
    except OSError:
        raise
    except Exception as error:
        number = _told_number(str(error))
        if number is None:
            raise
        raise OSError(number, os.strerror(number), str(path)) from error


def _told_number(text: str) -> int | None:
    if found := _NUMBER.search(text):
        return int(found[1])
    return next((number for words, number in _TEXTS.items() if words in text), None)


class Patience(Protocol):
    """Who waits while a disk is full."""

    def full(self, error: OSError, path: Path, needed: int) -> None:
        """Return when about `needed` bytes for `path` may be written again, or raise `error`."""
        ...

    def over(self) -> None:
        """What had to wait is written."""
        ...


_patience: list[Patience] = []


@contextmanager
def waiting(patience: Patience) -> Iterator[None]:
    """Inside, a full disk makes this process's writers wait; without it they raise OSError."""
    _patience.append(patience)
    try:
        yield
    finally:
        _patience.pop()


def patiently(path: Path, needed: int, write: Callable[[], T]) -> T:
    """What `write` gives; it is called again after each wait for a full disk, so it leaves nothing half done.

    About `needed` bytes are written at `path`. Raises OSError as OSError, also where a library hides one.
    """
    waited = False
    while True:
        try:
            with os_errors(path):
                done = write()
        except OSError as error:
            if not is_disk_full(error) or not _patience:
                raise
            _patience[-1].full(error, path, needed)
            waited = True
        else:
            if waited:
                _patience[-1].over()
            return done


def finished(begun: Future[T], path: Path, needed: int, again: Callable[[], T]) -> T:
    """What a write gave that another thread has begun. Where the disk was full this thread waits and does it `again`:
    the other one waits for nobody, as it does not listen to people."""
    tries = iter([begun.result])
    return patiently(path, needed, lambda: next(tries, again)())


def make_private(folder: Path) -> None:
    """Make a folder that only its owner may enter; one that is there keeps its rights."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    folder.mkdir(mode=0o700, exist_ok=True)


def write_all(fd: int, data: bytes) -> None:
    """Write every byte; a short write goes on, so that a full disk shows as its own error."""
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(fd, rest) :]


def file_word(word: str) -> str:
    """A word as a part of a file's name: `<fat cat>` is fat-cat."""
    return re.sub(r"[^\w]+", "-", word).strip("-") or "word"


def write_atomic(path: Path, data: bytes | str) -> None:
    """Replace `path` in one step: temporary file beside it, fsync, rename, fsync of the folder.

    Raises OSError and leaves the old file as it was, with no temporary file behind.
    """
    raw = data.encode("utf-8") if isinstance(data, str) else data
    patiently(path, len(raw), lambda: _write_beside(path, raw))


def _write_beside(path: Path, raw: bytes) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{os.urandom(4).hex()}.tmp")
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    try:
        try:
            write_all(fd, raw)
            os.fsync(fd)
        finally:
            os.close(fd)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    fsync_dir(path.parent)


def write_new(path: Path, data: bytes | str) -> None:
    """Write a file that is not there yet, whole or not at all; FileExistsError where it is."""
    beside = path.with_name(f".{path.name}.{os.getpid()}-{os.urandom(4).hex()}.new")
    try:
        write_atomic(beside, data)
        try:
            os.link(beside, path)
        except FileExistsError:
            raise
        except OSError:  # FAT and some network shares have no links
            if os.path.lexists(path):
                raise FileExistsError(errno.EEXIST, "the file is already there", str(path)) from None
            beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)
    fsync_dir(path.parent)


def open_plain(path: Path | str) -> int:
    """A descriptor of a plain file; a named pipe is refused instead of waited on for ever. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        return descriptor
    os.close(descriptor)
    raise OSError(0, "it is not a plain file", str(path))


def opened_plain(path: Path | str) -> BinaryIO:
    """A plain file for reading. Raises OSError, also for pipes, devices and folders, and never waits."""
    return os.fdopen(open_plain(path), "rb")


def read_plain(path: Path, most: int) -> bytes:
    """The first `most` bytes of a plain file; raises OSError, also for devices, pipes and folders."""
    kind = path.stat().st_mode
    if not stat.S_ISREG(kind):
        # Looked at before it is opened: opening a device may already do something.
        raise OSError(0, "it is a folder" if stat.S_ISDIR(kind) else "it is not a plain file", str(path))
    with opened_plain(path) as file:
        return file.read(most)


def expanded(path: Path | str) -> Path:
    """The path with its ~ as somebody's home; UserError where it is nobody's here."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        what = f"{str(path).split('/')[0]} is no user's home here"
        raise UserError(what, "~ alone is your own home", "give another path") from None


def text_obstacle(text: str) -> str:
    """Why the text can stand in no plan and name no file of a run; empty when it can."""
    if "\0" in text:
        return "it has a NUL character"
    try:
        text.encode()
    except UnicodeEncodeError:
        return "it is not UTF-8"
    return ""


def last_lines(path: Path, count: int = 12, *, start: int = 0) -> list[str]:
    """The last `count` lines that are not blank in `path` from byte `start` on; [] without a file."""
    try:
        with opened_plain(path) as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(start, size - 16_384))
            text = file.read().decode("utf-8", "replace")
    except OSError:
        return []
    lines = [line.rstrip() for line in text.splitlines()]
    return [line[:400] for line in lines if line][-count:]


def is_path(value: str, folder: Path) -> bool:
    """Is it a path on this machine rather than builtin:NAME or a hub id (owner/name)?"""
    if value.startswith("builtin:"):
        return False
    marks = value.startswith((".", "/", "~")) or value.endswith((".safetensors", ".ckpt", ".pt", ".bin"))
    return marks or value.count("/") != 1 or (folder / value).exists()
