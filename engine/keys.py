"""Turns (seed, purpose, position) into random numbers, so that no draw depends on an earlier one."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # importing it takes a tenth of `sdtrain estimate`, which permutes nothing
    import numpy as np
    import numpy.typing as npt

KeyPart = int | str


def encode(parts: Iterable[KeyPart]) -> bytes:
    """An unambiguous encoding of `parts`: different sequences never give the same bytes.

    Each part is a type letter, its byte length in decimal, a colon and its bytes ("i2:42", "s5:order").
    """
    pieces: list[bytes] = []
    for part in parts:
        if isinstance(part, str):
            kind, body = b"s", part.encode("utf-8", "surrogatepass")
        else:
            kind, body = b"i", b"%d" % int(part)
        pieces.append(b"%s%d:%s" % (kind, len(body), body))
    return b"".join(pieces)


def key(seed: int, *parts: KeyPart) -> int:
    """A 64-bit unsigned key: BLAKE2b-64, read little-endian, over `encode((seed, *parts))`.

    The same on every machine, Python version and hash seed.
    """
    return _digest(8, seed, *parts)


def wide_key(seed: int, *parts: KeyPart) -> int:
    """A 128-bit unsigned key in the same way, by BLAKE2b-128: no two of 2**40 meet (chance below 2**-48)."""
    return _digest(16, seed, *parts)


def _digest(size: int, *parts: KeyPart) -> int:
    return int.from_bytes(hashlib.blake2b(encode(parts), digest_size=size).digest(), "little")


def uniform(seed: int, *parts: KeyPart) -> float:
    """A number in [0, 1) with 53 random bits: the key's upper bits times 2**-53, exact in a double."""
    return (key(seed, *parts) >> 11) * 2.0**-53


def permutation(n: int, seed: int, *parts: KeyPart) -> npt.NDArray[np.int64]:
    """A permutation of range(n), shape (n,), given by the key alone.

    It is the stable argsort of n raw 64-bit words of Philox4x64-10 (Salmon et al., "Parallel random numbers:
    as easy as 1, 2, 3", SC 2011) under `key(seed, *parts)`, counter 0. NumPy freezes a bit generator's raw
    stream but not `Generator.permutation` (NEP 19), so this order holds across NumPy versions.
    """
    import numpy as np

    words = np.random.Philox(key=key(seed, *parts)).random_raw(n)
    return np.argsort(words, kind="stable").astype(np.int64, copy=False)
