"""Whole states that a run goes on from: safetensors and JSON, committed by one rename, verified before use."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from engine.errors import UserError
from engine.files import opened_plain
from engine.folders import fsync_dir, put_back, replace_dir
from engine.methods.base import Trainable
from engine.plan.optimizers import OptimizerSpec
from engine.tensorfiles.memory import load_tensors
from engine.tensorfiles.safetensors_file import Buffer, serialise
from engine.train import optimizer_state
from engine.train.snapshot import AVERAGES, OPTIMIZER, WEIGHTS, Snapshot, take

MANIFEST = "manifest.json"
STATE = "state.json"
_NAME = re.compile(r"step-([0-9]{1,18})", re.ASCII)


@dataclass(frozen=True)
class Saved:
    """One complete checkpoint folder."""

    step: int
    path: Path


def save(
    folder: Path,
    step: int,
    trainables: Sequence[Trainable],
    optimizer: torch.optim.Optimizer,
    state: Mapping[str, Any],
    averages: Mapping[str, Tensor] | None = None,
) -> tuple[Saved, int]:
    """Write `folder/step-00000123` of the state as it is; returns it and its size in bytes. `averages` are the EMA's,
    if there is one. OSError as from `write`."""
    return write(folder, take(step, trainables, optimizer, state, averages))


def write(folder: Path, snapshot: Snapshot) -> tuple[Saved, int]:
    """Write `folder/step-00000123` of a snapshot; returns it and its size in bytes. A thread may do it.

    Everything is written to a temporary folder, fsynced, listed with sizes and SHA-256 in a manifest, and
    renamed into place. An OSError (disk full) leaves older checkpoints as they were.
    """
    snapshot.wait()
    final = folder / f"step-{snapshot.step:08d}"
    temporary = folder / f".tmp-{final.name}-{time.time_ns()}"
    temporary.mkdir(parents=True)
    try:
        chunks: dict[str, Iterable[Buffer]] = {
            name: serialise(tensors, {}) for name, tensors in snapshot.files.items()
        }
        chunks[STATE] = [snapshot.state.encode()]
        files = {name: _write(temporary / name, parts) for name, parts in chunks.items()}
        manifest = json.dumps({"version": 1, "step": snapshot.step, "files": files}, indent=1)
        _write(temporary / MANIFEST, [manifest.encode()])
        fsync_dir(temporary)
        replace_dir(temporary, final)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    return Saved(snapshot.step, final), sum(int(entry["bytes"]) for entry in files.values())


def complete(folder: Path) -> list[Saved]:
    """Checkpoints with a manifest, the lowest step first; leftovers of a killed save have none under this name."""
    if not folder.is_dir():
        return []
    named = ((_NAME.fullmatch(path.name), path) for path in folder.iterdir())
    found = [Saved(int(name[1]), path) for name, path in named if name and (path / MANIFEST).is_file()]
    return sorted(found, key=lambda saved: (saved.step, saved.path.name))


def verify(saved: Saved) -> str:
    """An empty text when every file is as the manifest says, or else what is wrong."""
    try:
        for name, entry in _listed(saved).items():
            if _fingerprint(saved.path / name) != entry:
                return f"{name} differs from the manifest"
    except (OSError, ValueError) as error:
        return f"manifest or file cannot be read: {error}"
    return ""


def _listed(saved: Saved) -> dict[str, Any]:
    """What the manifest says of each file; ValueError for one that was not written for this folder."""
    try:
        manifest = json.loads((saved.path / MANIFEST).read_bytes())
    except RecursionError as error:
        raise ValueError("the manifest is nested too deeply") from error
    files = manifest.get("files") if isinstance(manifest, dict) else None
    if not isinstance(files, dict):
        raise ValueError("the manifest lists no files")
    if manifest.get("step") != saved.step:
        raise ValueError(f"the manifest is of step {str(manifest.get('step'))[:20]}")
    if missing := {WEIGHTS, OPTIMIZER, STATE} - files.keys():
        raise ValueError(f"the manifest lacks {min(missing)}")
    if odd := files.keys() - {WEIGHTS, OPTIMIZER, STATE, AVERAGES}:
        raise ValueError(f"the manifest lists {str(min(odd))[:40]!r}")
    return files


def latest(folder: Path) -> tuple[Saved | None, list[str]]:
    """The newest checkpoint that verifies, and what is wrong with newer ones."""
    broken: list[str] = []
    for older in folder.glob(".older-step-*"):
        put_back(folder / older.name.removeprefix(".older-"))
    for saved in reversed(complete(folder)):
        problem = verify(saved)
        if not problem:
            return saved, broken
        broken.append(f"{saved.path.name}: {problem}")
    return None, broken


def load(saved: Saved, trainables: Sequence[Trainable], optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """Put a checkpoint's weights and optimiser state in place; returns its state (step and what the loop saved)."""
    load_weights(saved, trainables)
    try:
        tensors = load_tensors(saved.path / OPTIMIZER)
        state: dict[str, Any] = json.loads((saved.path / STATE).read_text())
    except (OSError, UserError, ValueError) as error:
        raise _unreadable(saved, error) from error
    own = optimizer_state.OptimizerState.from_json(state, tensors)
    optimizer_state.write(own, trainables, optimizer)
    return state


def load_weights(saved: Saved, trainables: Sequence[Trainable]) -> None:
    """Put only a checkpoint's weights in place."""
    try:
        weights = load_tensors(saved.path / WEIGHTS)
    except (OSError, UserError) as error:
        raise _unreadable(saved, error) from error
    odd = sorted({item.name for item in trainables} ^ set(weights))[:3]
    if odd:
        raise UserError(
            f"the checkpoint {saved.path} belongs to another plan",
            f"tensors differ: {', '.join(odd)}",
            "resume with the run's own plan, or start a new run",
        )
    with torch.no_grad():
        for item in trainables:
            item.parameter.copy_(weights[item.name])


def load_averages(saved: Saved) -> dict[str, Tensor] | None:
    """The EMA of a checkpoint, or none where it has none."""
    try:
        return load_tensors(saved.path / AVERAGES) if (saved.path / AVERAGES).is_file() else None
    except (OSError, UserError) as error:
        raise _unreadable(saved, error) from error


def _unreadable(saved: Saved, error: Exception) -> UserError:
    why = error.why if isinstance(error, UserError) else str(error)
    return UserError(f"cannot read the checkpoint {saved.path}", why, "remove it to use an older one")


def prune(
    folder: Path, keep: int, whole: Path | None = None, also: Collection[int] = frozenset()
) -> list[Path]:
    """Remove all but the newest `keep` (0 keeps all), the steps `also` and leftovers of killed saves; never the only
    verified one.

    The newest is read once more before that, unless it is `whole`: the one that was just written or verified.
    """
    for leftover in folder.glob(".tmp-step-*"):
        shutil.rmtree(leftover, ignore_errors=True)
    found = [saved for saved in complete(folder) if _belongs(saved)]
    if keep == 0 or len(found) <= keep or (found[-1].path != whole and verify(found[-1])):
        return []
    gone = [saved.path for saved in found[:-keep] if saved.step not in also]
    for path in gone:
        shutil.rmtree(path, ignore_errors=True)
    return gone


def bytes_of(saved: Saved) -> int:
    """The size of a checkpoint that was verified."""
    return sum(int(entry["bytes"]) for entry in _listed(saved).values())


def _belongs(saved: Saved) -> bool:
    """Is it a checkpoint of this name, and no copy that somebody keeps beside?"""
    try:
        return bool(_listed(saved))
    except (OSError, ValueError):
        return False


def size_of(trainables: Sequence[Trainable], optimizer: OptimizerSpec) -> int:
    """About how many bytes a checkpoint takes: weights, the optimiser's state, and 1 MB for the rest."""
    values = [item.parameter for item in trainables]
    return sum(value.nbytes + optimizer.state_bytes(tuple(value.shape)) for value in values) + 1_000_000


def _write(path: Path, chunks: Iterable[Buffer]) -> dict[str, str | int]:
    """Write and fsync a file; what a manifest says of it, hashed on the way to the disk."""
    digest = hashlib.sha256()
    with path.open("wb") as file:
        for chunk in chunks:
            digest.update(chunk)
            file.write(chunk)
        file.flush()
        os.fsync(file.fileno())
        return {"bytes": file.tell(), "sha256": digest.hexdigest()}


def _fingerprint(path: Path) -> dict[str, str | int]:
    digest = hashlib.sha256()
    with opened_plain(path) as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return {"bytes": path.stat().st_size, "sha256": digest.hexdigest()}
