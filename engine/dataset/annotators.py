"""Condition pictures made from plain pictures: a table of kinds, and what stands in the way of each here."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from importlib import import_module
from pathlib import Path

from engine.dataset.images import Pixels
from engine.errors import UserError
from engine.hub import snapshot
from engine.installing import hub_download, pip_install, pip_uninstall
from engine.process import command, environment

Maker = Callable[[Pixels], Pixels]
"""From a picture (uint8, H x W x 3, RGB) to its condition of the same height and width."""

VERSION = 2
"""Part of every cached map's key: raise it when the same picture would give another map."""
FILES = 'give the maps as files: condition = "files", with their folder in condition_path'
# A first start reads some gigabytes of libraries from the disk.
PATIENCE_S = 300


PREPARED = ("preprocessor_config.json",)


@dataclass(frozen=True)
class Weights:
    """A model of the hub and the files of it that are read."""

    hub: str
    files: tuple[str, ...] = ("config.json", "model.safetensors")
    others: tuple[str, ...] = ()
    """Files that are read where they are there."""


@dataclass(frozen=True)
class Kind:
    """How maps of one kind are made: `module` has `load(folders) -> Maker`, with a folder for each of `weights`.

    The first of them is the one that a plan's condition_model stands in for.
    """

    module: str
    weights: tuple[Weights, ...] = ()


_MAKERS = "engine.dataset.makers"
KINDS: dict[str, Kind] = {
    "canny": Kind(f"{_MAKERS}.canny"),
    "depth": Kind(
        f"{_MAKERS}.depth", (Weights("depth-anything/Depth-Anything-V2-Small-hf", others=PREPARED),)
    ),
    "openpose": Kind(
        f"{_MAKERS}.openpose",
        (
            Weights("usyd-community/vitpose-base-simple", others=PREPARED),
            Weights("PekingU/rtdetr_r18vd_coco_o365"),
        ),
    ),
    "hed": Kind(f"{_MAKERS}.hed", (Weights("lllyasviel/Annotators", ("ControlNetHED.pth",)),)),
    "lineart": Kind(f"{_MAKERS}.lineart", (Weights("lllyasviel/Annotators", ("sk_model.pth",)),)),
}


def obstacle(kind: str, model: str = "") -> UserError | None:
    """Why maps of this kind cannot be made on this machine, or none when they can.

    `model` is the plan's condition_model. Where the weights are there, another process makes a map: what fails to be
    imported or read, fails there.
    """
    try:
        folders = _folders(kind, model)
    except UserError as error:
        return error
    stamps = tuple(_stamp(file) for file in _files(kind, folders))
    return _tried(kind, tuple(str(folder) for folder in folders), stamps, os.environ.get("PYTHONPATH", ""))


def identity(kind: str, model: str = "") -> tuple[str, ...]:
    """What makes the maps: part of every cached map's key, so that another model makes them anew."""
    return tuple(_stamp(file) for file in _files(kind, _folders(kind, model)))


@lru_cache(maxsize=1)
def maker(kind: str, model: str = "") -> Maker:
    """The function that makes maps of this kind; UserError names what is missing or broken."""
    folders = _folders(kind, model)
    try:
        made: Maker = import_module(KINDS[kind].module).load(folders)
    except UserError:
        raise
    except Exception as error:
        # A library that does not fit the others fails in any way it likes.
        raise broken(kind, reason(error)) from error
    return made


def reason(error: BaseException) -> str:
    """What an error says; of one that another caused, the first cause, as libraries wrap what they do not explain."""
    while not isinstance(error, UserError) and error.__cause__ is not None:
        error = error.__cause__
    return (
        f"{error.what}: {error.why}" if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
    )


def broken(kind: str, why: str) -> UserError:
    """The error of a kind whose libraries or weights fail with `why`."""
    line = (why.strip().splitlines() or ["it ended without a word"])[0][:200]
    fix = FILES
    if "torchvision" in line:
        fix = f"{pip_uninstall('torchvision')} (nothing here needs it, and it does not fit this torch), or {FILES}"
    elif "'cv2'" in line:
        fix = pip_install("opencv-python-headless")
    return UserError(f"{kind} maps cannot be made here", line, fix)


def _folders(kind: str, model: str) -> list[Path]:
    """The folder of each of the kind's weights; UserError says which are missing and how to get them."""
    found = []
    for index, weights in enumerate(KINDS[kind].weights):
        given = Path(model).expanduser() if model and index == 0 else None
        folder = given or snapshot(weights.hub)
        missing = [name for name in weights.files if folder is None or not (folder / name).is_file()]
        if missing and given is not None:
            why = f"{given} has no {' and no '.join(missing)}"
            raise UserError(
                f"{kind} maps cannot be made here", why, "correct condition_model, or leave it out"
            )
        if missing or folder is None:
            why = f"the weights of {weights.hub} are not in the hub cache, and nothing is downloaded unasked"
            fix = hub_download(weights.hub, *missing, *weights.others)
            raise UserError(f"{kind} maps cannot be made here", why, f"{fix}, or {FILES}")
        found.append(folder)
    return found


def _files(kind: str, folders: list[Path]) -> list[Path]:
    return [
        folder / name
        for folder, weights in zip(folders, KINDS[kind].weights, strict=True)
        for name in (*weights.files, *weights.others)
        if (folder / name).is_file()
    ]


def _stamp(file: Path) -> str:
    """A file of the hub cache is named by its content; any other is known by its size and time."""
    real = file.resolve()
    stat = real.stat()
    return f"{file.name} {real.name} {stat.st_size} {stat.st_mtime_ns}"


@lru_cache(maxsize=16)
def _tried(kind: str, folders: tuple[str, ...], stamps: tuple[str, ...], path: str) -> UserError | None:
    """Make a map in another process. `stamps` and `path` only say when to try again."""
    asked = command(f"{_MAKERS}.probe", kind, *folders)
    try:
        done = subprocess.run(
            asked,
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            env=environment(os.environ),
            check=False,
        )
    except subprocess.TimeoutExpired:
        return None
    if done.returncode == 0:
        return None
    last = (done.stdout.strip().splitlines() or [""])[-1]
    try:
        why = str(json.loads(last)["error"])
    except (ValueError, KeyError, TypeError):
        why = (done.stderr.strip().splitlines() or [f"a process that tried ended with {done.returncode}"])[-1]
    return broken(kind, why)
