"""Folders that take their names whole: a reader sees the old one or the new one, never a part."""

from __future__ import annotations

import errno
import os
from pathlib import Path

_AT_FDCWD, _RENAME_EXCHANGE = -100, 2
_OLDER = ".older-"
_NO_DIR_SYNC = frozenset({errno.EINVAL, errno.ENOTSUP, errno.EBADF})


def fsync_dir(path: Path) -> None:
    """Make the names in the folder `path` durable; a file system without this is left alone."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    except OSError as error:
        if error.errno not in _NO_DIR_SYNC:
            raise
    finally:
        os.close(fd)


def commit_dir(tmp: Path, final: Path) -> None:
    """Give the finished folder `tmp` its name `final`, after every file in it is on the disk.

    Raises FileExistsError when `final` exists: nothing that was committed is ever replaced.
    Both must be on one file system.
    """
    if final.exists():
        raise FileExistsError(errno.EEXIST, "the folder is already there", str(final))
    _fsync_all(tmp)
    tmp.rename(final)
    fsync_dir(final.parent)


def replace_dir(tmp: Path, final: Path) -> None:
    """Give the finished folder `tmp` its name `final`, in place of a folder that has it: there is always one.

    Where the system cannot exchange two names, the old one steps aside for a moment; after a kill in that moment
    `put_back` gives it its name again.
    """
    import shutil  # 2 ms, which a list of runs does not need

    put_back(final)
    if not final.exists():
        commit_dir(tmp, final)
        return
    _fsync_all(tmp)
    if _exchange(tmp, final):
        fsync_dir(final.parent)
        shutil.rmtree(tmp, ignore_errors=True)
        return
    older = final.with_name(f"{_OLDER}{final.name}")
    shutil.rmtree(older, ignore_errors=True)
    final.rename(older)
    try:
        commit_dir(tmp, final)
    except BaseException:
        put_back(final)
        raise
    shutil.rmtree(older, ignore_errors=True)


def put_back(final: Path) -> None:
    """Give a folder its name again whose replacement was ended half way."""
    older = final.with_name(f"{_OLDER}{final.name}")
    if older.exists() and not final.exists():
        older.rename(final)


def _exchange(one: Path, other: Path) -> bool:
    """Each gets the other's name, at once; False where the system or the file system cannot."""
    import ctypes  # 5 ms, which a list of runs does not need

    try:
        done = ctypes.CDLL(None).renameat2(
            _AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _RENAME_EXCHANGE
        )
    except (AttributeError, TypeError, OSError):
        return False
    return bool(done == 0)


def _fsync_all(tmp: Path) -> None:
    for folder, _, names in os.walk(tmp, topdown=False):
        for name in names:
            _fsync_file(Path(folder, name))
        fsync_dir(Path(folder))


def _fsync_file(path: Path) -> None:
    if path.is_symlink():
        return
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
