"""CLIP's vocabulary in the two forms that programs carry, and the exact way from one to the other.

OpenAI's form is one text, mostly packed (`bpe_simple_vocab_16e6.txt.gz`): a line of version, then pairs of pieces, best
first, more than CLIP uses. The library's form is `vocab.json` (piece to number) and `merges.txt` (the pairs in use).
SD 1.x, SD 2.x and SDXL have this one vocabulary.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path

PACKED = "bpe_simple_vocab_16e6.txt.gz"
FILES = ("vocab.json", "merges.txt")
START, END = "<|startoftext|>", "<|endoftext|>"
WORD_END = "</w>"
_MERGES = 48_894
_DIGEST = "f61f2adf497e6f5357c347aeb4646fabe82f341e946de5bdec5d2858e41bef4a"
"""SHA-256 of the pairs in use, a line each: other vocabularies have the same file names."""
_MAX_BYTES = 20_000_000


def byte_symbols() -> list[str]:
    """The 256 printable characters that stand for the bytes 0..255 in GPT-2's and CLIP's vocabularies, in
    vocabulary order (printable bytes first). Source: the byte-level BPE of Radford et al. 2019."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    return [chr(b) for b in printable] + [chr(256 + i) for i in range(256 - len(printable))]


def numbered(pieces: Iterable[str]) -> dict[str, int]:
    """Piece to number: bytes, bytes at a word's end, the merged pieces in their order, start and end."""
    symbols = byte_symbols()
    every = [*symbols, *(symbol + WORD_END for symbol in symbols), *pieces, START, END]
    return {piece: number for number, piece in enumerate(every)}


def clip_files(path: Path) -> dict[str, str] | None:
    """The texts of `FILES` where `path` holds CLIP's vocabulary, else none.

    `path` is a folder with the two files or the packed one, the packed one itself (also unpacked), or a wheel or zip
    with it inside.
    """
    for lines in _merges(path):
        pairs = lines[:_MERGES]
        if hashlib.sha256("\n".join(pairs).encode()).hexdigest() == _DIGEST:
            vocabulary = numbered("".join(pair.split()) for pair in pairs)
            texts = json.dumps(vocabulary, ensure_ascii=False), "\n".join(["#version: 0.2", *pairs, ""])
            return dict(zip(FILES, texts, strict=True))
    return None


def _merges(path: Path) -> Iterator[list[str]]:
    """The pairs of every text that may be a list of them."""
    if path.is_dir():
        for file in (path / FILES[1], path / PACKED, path / PACKED.removesuffix(".gz")):
            if file.is_file():
                yield from _merges(file)
        return
    try:
        for raw in _texts(path):
            # The first line is the version, in OpenAI's form with the file's old name in front.
            yield raw.decode("utf-8", errors="replace").split("\n")[1:]
    except (OSError, EOFError, zlib.error, zipfile.BadZipFile, NotImplementedError, RuntimeError):
        return  # a broken archive holds no vocabulary: the caller says what it found in place of one


def _texts(path: Path) -> Iterator[bytes]:
    if not path.is_file():
        return
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            for name in archive.namelist():
                if name.rpartition("/")[2] == PACKED:
                    with archive.open(name) as packed, gzip.open(packed) as text:
                        yield text.read(_MAX_BYTES)
        return
    with path.open("rb") as file:
        head = file.read(2)
    with gzip.open(path) if head == b"\x1f\x8b" else path.open("rb") as text:
        yield text.read(_MAX_BYTES)
