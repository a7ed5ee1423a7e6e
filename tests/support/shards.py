"""WebDataset shards for tests, packed from bytes or from a folder of pictures."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image


def png(side: tuple[int, int] = (64, 64), seed: int = 0) -> bytes:
    """A random picture of that width and height."""
    array = np.random.default_rng(seed).integers(0, 255, (side[1], side[0], 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, "PNG")
    return buffer.getvalue()


def write_shard(path: Path, files: Mapping[str, bytes | str], form: int = tarfile.GNU_FORMAT) -> Path:
    """A plain tar of these members, in their order."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w", format=form) as tar:
        for name, content in files.items():
            raw = content.encode() if isinstance(content, str) else content
            info = tarfile.TarInfo(name)
            info.size = len(raw)
            tar.addfile(info, io.BytesIO(raw))
    return path


def pack(pictures: Path, folder: Path, counts: Sequence[int]) -> Path:
    """The pictures of a folder and their captions, in order, so many a shard."""
    files = sorted(pictures.glob("*.png"))
    for number, count in enumerate(counts):
        mine, files = files[:count], files[count:]
        members: dict[str, bytes | str] = {}
        for file in mine:
            members[file.name] = file.read_bytes()
            members[f"{file.stem}.txt"] = file.with_suffix(".txt").read_bytes()
        write_shard(folder / f"{number:05d}.tar", members)
    assert not files
    return folder
