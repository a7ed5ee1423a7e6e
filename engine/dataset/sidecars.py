"""Reads the text files beside pictures: cat.txt, cat.caption, and what other programs make of those names."""

import os
from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from engine.dataset.encodings import decode
from engine.dataset.findings import Finding, printable
from engine.dataset.json_caption import json_captions
from engine.dataset.metadata import clean_lines
from engine.dataset.names import PictureNames, has_picture_suffix, stem_of
from engine.dataset.tables import is_table

SIDECARS = (".txt", ".caption")
JSON = ".json"
MAX_SIDECAR_BYTES = 64 * 1024
MAX_JSON_BYTES = 1 << 20
_NOTES = frozenset(("readme", "license", "licence", "notes", "prompts", "classes", "copying"))


@dataclass(frozen=True, slots=True)
class Caption:
    """A caption as it stands in `source`, a file's name relative to the folder, on one line.

    `parts` are the captions of a source that holds several, each with its weight: its lines, or a list in a .json.
    """

    text: str
    source: str
    parts: tuple[tuple[str, float], ...] = ()

    @classmethod
    def of(cls, lines: str, source: str) -> "Caption":
        """The caption of a text in clean lines."""
        if "\n" not in lines:
            return cls(lines, source)
        return cls(lines.replace("\n", " "), source, tuple((line, 1.0) for line in lines.split("\n")))


def read_sidecars(
    folder: Path,
    pictures: PictureNames,
    others: Iterable[str],
    left_out: Collection[str],
    problems: list[Finding],
) -> dict[str, list[Caption]]:
    """The captions of .txt and .caption files, each picture's own name before names that are only like it.

    Like cat.png are the texts cat.png.txt, cat.txt.txt, CAT.txt, and those whose letters are put together of other
    Unicode characters. Nothing is said of files that go with pictures in `left_out`.
    """
    found: dict[str, list[Caption]] = {}
    inexact: list[str] = []
    for suffix in SIDECARS:
        for name in others:
            if not name.lower().endswith(suffix):
                continue
            owners = pictures.stems.get(stem_of(name))
            if owners:
                _add(folder, name, owners, found, problems)
            else:
                inexact.append(name)
    excused = PictureNames(left_out) if inexact else None
    for name in inexact:
        stem = _bare(name)
        if owners := _owners(pictures, stem):
            _add(folder, name, owners, found, problems)
        elif not (_is_note(name) or (excused is not None and _owners(excused, stem))):
            problems.append(_orphan(name))
    return found


def read_json_sidecars(
    folder: Path, pictures: PictureNames, others: Iterable[str], lacking: Collection[str]
) -> dict[str, list[Caption]]:
    """The captions in same-name .json files, for the pictures that have no other; most such files hold none."""
    found: dict[str, list[Caption]] = {}
    for name in others:
        if not name.lower().endswith(JSON) or is_table(name):
            continue
        owners = [
            owner for owner in _owners(pictures, _bare(name)) if owner in lacking and owner not in found
        ]
        if not owners:
            continue
        try:
            raw = _read_start(f"{folder}/{name}", MAX_JSON_BYTES)
        except OSError:
            continue
        written = json_captions(decode(raw).text.encode("utf-8", "replace"))
        if written is not None:
            own = Caption.of(written[0], name)
            own = replace(own, parts=written[1]) if written[1] else own
            found |= {owner: [own] for owner in owners}
    return found


def _owners(pictures: PictureNames, stem: str) -> list[str]:
    """The pictures that a text of that name, without its own suffix, goes with."""
    return pictures.stems.get(stem) or ([stem] if stem in pictures.known else pictures.near(stem))


def _bare(name: str) -> str:
    """A caption file's name without its suffix, or its suffixes where an editor has put one behind another."""
    stem = stem_of(name)
    while stem.lower().endswith((*SIDECARS, JSON)):
        stem = stem_of(stem)
    return stem


def _add(
    folder: Path, name: str, owners: list[str], found: dict[str, list[Caption]], problems: list[Finding]
) -> None:
    caption = Caption.of(_read_sidecar(folder, name, problems), name)
    for owner in owners:
        found.setdefault(owner, []).append(caption)


def _is_note(name: str) -> bool:
    return stem_of(name).rpartition("/")[2].lower() in _NOTES


def _read_sidecar(folder: Path, name: str, problems: list[Finding]) -> str:
    def say(code: str, what: str, why: str, fix: str) -> None:
        problems.append(Finding(code, printable(name), what, why, fix, "warning"))

    try:
        raw = _read_start(f"{folder}/{name}", MAX_SIDECAR_BYTES + 1)
    except OSError as error:
        why = error.strerror or str(error)
        say("caption-unreadable", "the caption file cannot be read", why, "check its permissions")
        return ""
    if len(raw) > MAX_SIDECAR_BYTES:
        what = f"the caption file is larger than {MAX_SIDECAR_BYTES // 1024} kB"
        why = "a caption is a few sentences at most, so this is taken for another kind of file"
        say("caption-unreadable", what, why, "rename it, or cut it down")
        return ""
    decoded = decode(raw)
    if decoded.guess:
        what = f"the caption is not UTF-8; it was read as {decoded.guess}"
        say("caption-encoding", what, "letters beyond English may come out wrong", "save it as UTF-8")
    text = decoded.text.rstrip("\x00\r\n\t ")
    if "\x00" in text:
        what = "the caption has NUL bytes in it; they count as spaces"
        say("caption-encoding", what, "it is damaged, or no text", "look at it, and save it as UTF-8")
    return clean_lines(text)


def _read_start(path: str, limit: int) -> bytes:
    """At most `limit` bytes; plain system calls, which take half the time of a file object."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        return os.read(descriptor, limit)
    finally:
        os.close(descriptor)


def _orphan(name: str) -> Finding:
    what, why = "a caption file without a picture of the same name", "it is not used"
    stem = _bare(name)
    stem = stem_of(stem) if has_picture_suffix(stem) else stem
    fix = f"name it like its picture: {printable(stem.rpartition('/')[2])}.png goes with it"
    return Finding("caption-without-picture", printable(name), what, why, fix, "info")
