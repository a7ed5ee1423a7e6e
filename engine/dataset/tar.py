"""Reads the headers of a plain tar file in one pass of seeks: where each member's bytes lie, and no more.

Formats: ustar (POSIX.1-1988), pax (POSIX.1-2001) path and size records, GNU long names and base-256 numbers.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

BLOCK = 512
# Names of some 4 kB are the longest that file systems take, and a header that claims more is damage.
MAX_HEADER_BYTES = 1 << 20
MAX_NAME = 4096
_ZERO = bytes(BLOCK)
_AHEAD = 4096

Kind = Literal["file", "folder", "link", "device", "sparse"]
_KINDS: dict[bytes, Kind] = {
    b"0": "file",
    b"\0": "file",
    b"7": "file",
    b"1": "link",
    b"2": "link",
    b"3": "device",
    b"4": "device",
    b"6": "device",
    b"5": "folder",
    b"S": "sparse",
}


@dataclass(frozen=True, slots=True)
class Member:
    """One entry of the archive; only a "file" has bytes that may be read, `size` of them from `offset` on."""

    name: str
    offset: int
    size: int
    kind: Kind


class TarDamage(Exception):
    """The archive cannot be followed beyond byte `at`; the text says why. Members before it are whole."""

    def __init__(self, text: str, at: int) -> None:
        super().__init__(text)
        self.at = at


def members(descriptor: int, size: int) -> Iterator[Member]:
    """Every member of the open tar of `size` bytes, in its order. Raises TarDamage where it is torn.

    A name is what the archive says, undecodable bytes as surrogates: it is never used as a path.
    """
    at, name, length, sparse = 0, "", -1, False
    buffer, start = b"", 0
    while True:
        if not start <= at <= start + len(buffer) - BLOCK:
            buffer, start = os.pread(descriptor, _AHEAD, at), at
        block = buffer[at - start : at - start + BLOCK]
        if block == _ZERO:
            return
        if len(block) < BLOCK:
            text = "it is cut off in the middle of a header" if block else "it ends without an end mark"
            raise TarDamage(text, min(at, size))
        flag, stated = _header(block, at)
        body = at + BLOCK + (_sparse_map(descriptor, block, at) if flag == b"S" else 0)
        # A pax size stands for the member's own header, which cannot hold more than 8 GiB in octal.
        own = stated if length < 0 or flag in b"xgLK" else length
        if body + own > size:
            raise TarDamage(f"it is cut off inside {_name(block)!r}", at)
        at = body + -(-own // BLOCK) * BLOCK
        if flag in b"xLK":
            raw = _about_the_next(descriptor, body, own)
            if flag == b"L":
                name = _text(raw.rstrip(b"\0"))
            elif flag == b"x":
                name, length, sparse = _pax(raw, body, name)
        elif flag != b"g":
            told = name or _name(block)
            yield Member(told[:MAX_NAME], body, own, _kind(flag, told, sparse))
            name, length, sparse = "", -1, False


def _about_the_next(descriptor: int, body: int, size: int) -> bytes:
    """The bytes of an entry that only says more about the one behind it: a long name, a pax header."""
    if size > MAX_HEADER_BYTES:
        raise TarDamage(f"a header claims {size} bytes", body)
    return os.pread(descriptor, size, body)


def _kind(flag: bytes, name: str, sparse: bool) -> Kind:
    kind: Kind = "sparse" if sparse else _KINDS.get(flag, "device")
    return "folder" if kind == "file" and name.endswith("/") else kind


def _header(block: bytes, at: int) -> tuple[bytes, int]:
    """The type flag and the size that a header states; its checksum is what tells a header from pixels."""
    stated = _number(block[148:156])
    if stated != sum(block[:148]) + sum(block[156:]) + 8 * 32:
        raise TarDamage("what should be a header is none", at)
    size = _number(block[124:136])
    if size is None:
        raise TarDamage("a header states no size", at)
    flag = block[156:157]
    # Links, devices and folders have no bytes, whatever their size field says.
    return flag, 0 if _KINDS.get(flag, "file") in ("link", "device", "folder") else size


def _sparse_map(descriptor: int, block: bytes, at: int) -> int:
    """Bytes of the blocks that a GNU sparse header goes on in."""
    blocks, more = 0, block[482] == 1
    while more:
        blocks += 1
        following = os.pread(descriptor, BLOCK, at + blocks * BLOCK)
        if len(following) < BLOCK:
            raise TarDamage("it is cut off in the middle of a header", at)
        more = following[504] == 1
    return blocks * BLOCK


def _number(field: bytes) -> int | None:
    if field[0] == 0x80:
        return int.from_bytes(field[1:])
    digits = field.strip(b" \0")
    try:
        return int(digits, 8) if digits and b"_" not in digits and digits[0] not in b"+-" else 0
    except ValueError:
        return None


def _name(block: bytes) -> str:
    name = block[:100].split(b"\0", 1)[0]
    prefix = block[345:500].split(b"\0", 1)[0] if block[257:263] == b"ustar\0" else b""
    return _text(prefix + b"/" + name if prefix else name)


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "surrogateescape")


def _pax(raw: bytes, at: int, name: str) -> tuple[str, int, bool]:
    """Path, size (-1: none) and whether the member is sparse, of the records "LENGTH KEY=VALUE\\n"."""
    length, sparse, start = -1, False, 0
    while start < len(raw) and raw[start] != 0:
        digits, space, _ = raw[start : start + 20].partition(b" ")
        if not space or not digits.isdigit() or not (end := start + int(digits)) <= len(raw) or end <= start:
            raise TarDamage("a pax header is damaged", at)
        key, _, value = raw[start + len(digits) + 1 : end - 1].partition(b"=")
        if key == b"path":
            name = _text(value)
        elif key == b"size":
            if not value.isdigit():
                raise TarDamage("a pax header is damaged", at)
            length = int(value[:20])
        elif key.startswith(b"GNU.sparse."):
            sparse = True
        start = end
    return name, length, sparse
