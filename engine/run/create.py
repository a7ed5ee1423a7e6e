"""Making a run's directory: whole, or nothing of it."""

from __future__ import annotations

import contextlib
import os
import shlex
from pathlib import Path

from engine.errors import UserError
from engine.files import expanded, is_disk_full, make_private, text_obstacle, write_atomic
from engine.run.paths import RunDir, cache_root, remember, runs_root, safe_name


def create_run(plan_toml: str, name: str, directory: Path | None = None) -> RunDir:
    """Make a new run directory that holds the plan; nothing that exists is overwritten.

    Without `directory` it is `runs_root()/name`, or name-2, name-3... when that is taken. A given
    `directory` is the run's own and must be new or empty. New folders are their owner's alone (0700).
    Raises UserError, and then leaves nothing behind.
    """
    place = str(runs_root() if directory is None else expanded(directory).absolute())
    if why := text_obstacle(place):
        what = f"A run cannot be kept in {place}"
        raise UserError(what, why, "give another place with --dir, or set SDTRAIN_HOME")
    _make_cache()
    path = None if directory is None else expanded(directory).absolute()
    missing = [] if path is None else [each for each in (path, *path.parents) if not each.exists()]
    try:
        run = RunDir(_claim_name(safe_name(name)) if path is None else _claim_directory(path))
        try:
            _fill(run, plan_toml)
        except BaseException:
            _empty(run)
            if path is None:
                run.path.rmdir()
            raise
    except OSError as error:
        _remove(missing)
        raise _unwritable(error, path or runs_root()) from error
    if path is not None:
        remember(run)
    return run


def _unwritable(error: OSError, place: Path) -> UserError:
    why = error.strerror or str(error)
    if is_disk_full(error):
        return UserError(
            f"There is no space for the run directory: {place}", why, "free some space, or give --dir"
        )
    return UserError(
        f"The run directory cannot be written: {error.filename or place}",
        why=why,
        fix="give another place with --dir, or set SDTRAIN_HOME to a folder that you may write to",
    )


def _fill(run: RunDir, plan_toml: str) -> None:
    for folder in (run.previews, run.exports):
        folder.mkdir()
    try:
        run.cache.symlink_to(cache_root(), target_is_directory=True)
    except PermissionError:
        # FAT and some network shares have no links; the run then keeps a cache of its own.
        run.cache.mkdir()
    write_atomic(run.plan_file, plan_toml)


def _empty(run: RunDir) -> None:
    """Take away what a start that failed has made in the folder, and nothing else."""
    for file in (run.plan_file, run.cache):
        with contextlib.suppress(OSError):
            file.unlink()
    _remove([run.previews, run.exports, run.cache, run.checkpoints])


def _remove(folders: list[Path]) -> None:
    for folder in folders:
        with contextlib.suppress(OSError):  # it is not there, or not empty
            folder.rmdir()


def _make_cache() -> None:
    root = cache_root()
    try:
        make_private(root)
        usable = os.access(root, os.W_OK | os.X_OK)
    except OSError as error:
        why, usable = error.strerror or str(error), False
    else:
        why = "you may not write there"
    if not usable:
        raise UserError(
            f"The cache cannot be written: {root}",
            why,
            "set SDTRAIN_HOME (runs and cache) or XDG_CACHE_HOME (cache) to a folder that you may write to",
        )


def _claim_name(name: str) -> Path:
    root = runs_root()
    make_private(root)
    number = 1
    while True:
        path = root / (name if number == 1 else f"{name}-{number}")
        try:
            path.mkdir(mode=0o700)
        except FileExistsError:
            number += 1
            continue
        try:
            (path / "checkpoints").mkdir()
        except OSError:
            path.rmdir()
            raise
        return path


def _is_skeleton(path: Path) -> bool:
    """Has it what a run begins with and nothing else?"""
    run = RunDir(path)
    own = {run.checkpoints, run.previews, run.exports, run.cache}
    found = set(path.iterdir())
    plain = found - {run.cache}
    return bool(found) and found <= own and all(each.is_dir() and not any(each.iterdir()) for each in plain)


def _claim_directory(path: Path) -> Path:
    if path.exists() and not path.is_dir():
        raise UserError(f"This is a file, not a folder: {path}", fix="give a new or an empty folder")
    make_private(path)
    if RunDir(path).exists():
        raise UserError(
            f"This folder already holds a run: {path}",
            why="a run is never overwritten",
            fix=f"continue it with `sdtrain resume {path}`, or give another folder",
        )
    if _is_skeleton(path):
        raise UserError(
            f"A start was broken off in this folder: {path}",
            why="it has the empty folders of a run and no plan; another start may be filling it right now",
            fix=f"if none is, remove it: {shlex.join(['rm', '-r', str(path)])}",
        )
    if any(path.iterdir()):
        raise UserError(
            f"This folder is not empty: {path}",
            why="a run keeps its own folder, so that nothing of yours can be touched",
            fix="give a new or an empty folder",
        )
    try:
        # mkdir either makes it or fails, so of two starts at once only one gets the folder.
        (path / "checkpoints").mkdir()
    except FileExistsError as error:
        raise UserError(
            f"Another start has just taken this folder: {path}", fix="give another one"
        ) from error
    return path
