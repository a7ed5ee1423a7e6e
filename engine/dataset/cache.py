"""Keeps what the frozen parts of a model make of pictures and captions on disk, found again by content."""

import contextlib
import hashlib
import json
import os
import re
import secrets
import time
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from engine import keys
from engine.dataset.contents import ContentIndex
from engine.errors import UserError
from engine.files import patiently
from engine.tensorfiles.memory import own

VERSION = 1
"""Part of every key: raise it when the same inputs would be encoded differently."""

Tensors = Mapping[str, Tensor]

_KEY = re.compile(r"[0-9a-f]{64}")
_STALE_SECONDS = 24 * 3600


def cache_key(*parts: str | int | float) -> str:
    """64 hex digits: SHA-256 over the cache's version and an unambiguous encoding of `parts`."""
    texts = [part.hex() if isinstance(part, float) else part for part in parts]
    return hashlib.sha256(keys.encode((VERSION, *texts))).hexdigest()


def latent_key(content: str, size: tuple[int, int], crop: tuple[float, float], flip: bool, part: str) -> str:
    """The key of one picture's latents: file hash, bucket, crop fractions, flip, and the VAE's own hash."""
    return cache_key("latents", content, *size, float(crop[0]), float(crop[1]), int(flip), part)


class TensorCache:
    """A folder of safetensors files named by key; several processes may use it at once.

    A file is written beside and renamed, so readers see a whole file or none. It is not fsynced, which would
    cost 4 ms a file: every file carries a digest of its tensors, and one that a power cut has torn, or a disk
    has changed, is a miss and is written anew.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._temporary = root / "tmp"
        try:
            self._temporary.mkdir(parents=True, exist_ok=True)
            self._sweep()
        except OSError as error:
            why, fix = error.strerror or str(error), "set SDTRAIN_HOME to a folder that you may write to"
            raise UserError(f"{root}: the cache cannot be made there", why, fix) from None
        self.contents = ContentIndex(root)

    def path(self, key: str) -> Path:
        """Where the entry lies or would lie."""
        assert _KEY.fullmatch(key), f"not a cache key: {key!r}"
        return self.root / key[:2] / f"{key}.safetensors"

    def __contains__(self, key: str) -> bool:
        """Whether there is a file for `key`; whether it is sound only `get` can tell."""
        return self.path(key).is_file()

    def get(self, key: str) -> dict[str, Tensor] | None:
        """The tensors on the CPU, or None where there are none or the file is damaged."""
        try:
            raw = self.path(key).read_bytes()
            tensors = {name: own(tensor) for name, tensor in load(raw).items()}
            facts = json.loads(raw[8 : 8 + int.from_bytes(raw[:8], "little")]).get("__metadata__")
        except (OSError, SafetensorError, ValueError, KeyError, RuntimeError):
            return None
        if not isinstance(facts, dict) or facts.get("key") != key or facts.get("digest") != _digest(tensors):
            return None
        return tensors

    def put(self, key: str, tensors: Tensors) -> None:
        """Writes an entry, replacing one that is there. Raises OSError where the disk is full."""
        copies = {name: tensor.detach().to("cpu", copy=True).contiguous() for name, tensor in tensors.items()}
        raw = save(copies, metadata={"key": key, "digest": _digest(copies)})
        patiently(self.path(key), len(raw), lambda: self._write(self.path(key), raw))

    def _write(self, final: Path, raw: bytes) -> None:
        final.parent.mkdir(parents=True, exist_ok=True)
        self._temporary.mkdir(parents=True, exist_ok=True)
        beside = self._temporary / f"{os.getpid()}-{secrets.token_hex(8)}"
        try:
            beside.write_bytes(raw)
            beside.replace(final)
        except BaseException:
            with contextlib.suppress(OSError):
                beside.unlink()
            raise

    def _sweep(self) -> None:
        """Takes away what killed writers left a day ago and more."""
        oldest = time.time() - _STALE_SECONDS
        for left in self._temporary.iterdir():
            with contextlib.suppress(FileNotFoundError):
                if left.stat().st_mtime < oldest:
                    left.unlink()


def _digest(tensors: Tensors) -> str:
    """A digest of names, types, shapes and bytes: safetensors itself would not see a flipped bit."""
    digest = hashlib.blake2b(digest_size=16)
    for name in sorted(tensors):
        tensor = tensors[name].contiguous()
        digest.update(keys.encode((name, str(tensor.dtype), *tensor.shape)))
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
