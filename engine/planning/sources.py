"""What a run was made from, as short marks: by them a resume knows whether a path leads to the same files."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path

from engine.dataset.report import DatasetReport
from engine.errors import UserError
from engine.files import opened_plain, read_plain
from engine.models.bases import locate
from engine.plan.schema import Plan
from engine.planning.data import scan_data

PICTURES = "pictures"
BASE = "base"
VAE = "vae"
MARKED: Mapping[str, str] = {"data.path": PICTURES, "base.model": BASE, "base.vae": VAE}
"""The mark of what a path of the plan leads to."""

_WEIGHTS = (".safetensors", ".bin", ".ckpt", ".pt")
_BLOCK = 64 << 10
_SAMPLES = 16
_MOST = 16 << 20


def marks(plan: Plan, report: DatasetReport) -> dict[str, str]:
    """A mark each of pictures, base and VAE, 16 hex digits; none of what cannot be read, or is not on this machine yet.

    Pictures are known by their names, sizes and captions, in their order. Weights are known by the sizes of their files
    and by 17 blocks of 64 KiB of each, header and end among them.
    """
    found = {PICTURES: _mark(_told(report))}
    for name, place in ((BASE, _base(plan)), (VAE, _path(plan.base.vae))):
        try:
            found |= {name: _mark(_blocks(place))} if place is not None else {}
        except OSError:
            continue
    return found


def _mark(parts: Iterable[bytes]) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(len(part).to_bytes(8, "little"))
        digest.update(part)
    return digest.hexdigest()[:16]


def _told(report: DatasetReport) -> Iterator[bytes]:
    for item in report.items:
        yield repr((item.rel, item.width, item.height, item.caption, item.choices)).encode()


def _base(plan: Plan) -> Path | None:
    try:
        found = locate(plan.base.model, allow_download=plan.base.allow_download)
    except UserError:
        return None
    return None if found.kind == "builtin" else found.path


def _path(value: str | None) -> Path | None:
    return Path(value) if value and Path(value).exists() else None


def _blocks(place: Path) -> Iterator[bytes]:
    files = (
        sorted(each for each in place.rglob("*") if each.suffix in _WEIGHTS) if place.is_dir() else [place]
    )
    for file in files:
        size = file.stat().st_size
        yield (file.relative_to(place).as_posix() if file != place else "").encode()
        yield str(size).encode()
        with opened_plain(file) as opened:
            for number in range(_SAMPLES + 1):
                opened.seek(max(0, size - _BLOCK) * number // _SAMPLES)
                yield opened.read(_BLOCK)


def refuse_others(plan: Plan, keys: Collection[str], state_file: Path) -> None:
    """UserError where a path under one of the `keys`, which changed, leads to other files than the checkpoint's.

    `state_file` is the checkpoint's; of an older version's checkpoint nothing is known, and nothing refused.
    """
    moved = {key: MARKED[key] for key in keys if key in MARKED}
    known = _known(state_file) if moved else {}
    now = marks(plan, scan_data(plan)) if known else {}
    for key, mark in moved.items():
        if mark in known and mark in now and known[mark] != now[mark]:
            by = "names, sizes and captions" if mark == PICTURES else "size and content"
            raise UserError(
                f"{key} leads to other files",
                f"by their {by} they are not those that the last checkpoint was trained with",
                "give the place to which those were moved, or start a new run with the others",
            )


def _known(state_file: Path) -> Mapping[str, str]:
    try:
        state = json.loads(read_plain(state_file, _MOST))
    except (OSError, ValueError):
        return {}
    found = state.get("sources") if isinstance(state, dict) else None
    return found if isinstance(found, dict) else {}
