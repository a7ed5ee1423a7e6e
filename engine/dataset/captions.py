"""Finds each picture's caption, puts the trigger word in, and makes the variant that one draw sees."""

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from engine import keys
from engine.dataset.findings import Finding, printable
from engine.dataset.metadata import METADATA_FILES, clean, read_metadata

SIDECARS = (".txt", ".caption")
MAX_SIDECAR_BYTES = 64 * 1024
MAX_TOKENS = 75
"""What CLIP's text encoder reads of a prompt: 77 tokens less the start and the end."""
PLACEHOLDER = "[trigger]"

TriggerMode = Literal["prepend", "keep"]

_TOKENS = re.compile(r"'(?:s|t|re|ve|m|ll|d)\b|[^\W\d_]+|\d|[^\s\w]+|_+", re.IGNORECASE)
_LETTERS_A_TOKEN = 9


@dataclass(frozen=True, slots=True)
class Caption:
    """A caption as it stands in `source`, a file's name relative to the folder."""

    text: str
    source: str


@dataclass(frozen=True, slots=True)
class CaptionSet:
    """The captions found, by the picture's relative path; a picture without one is not in `captions`."""

    captions: Mapping[str, Caption]
    problems: tuple[Finding, ...]


def read_captions(folder: Path, pictures: Iterable[str], others: Iterable[str]) -> CaptionSet:
    """The captions of `pictures`, looked for among `others`; both are paths relative to `folder`.

    The first of these that exists counts: same-name .txt, same-name .caption, the row of a metadata.jsonl,
    that of a metadata.csv (`file_name` is relative to the table's own folder). Never raises for a bad file.
    """
    problems: list[Finding] = []
    stems: dict[str, list[str]] = {}
    for picture in pictures:
        stems.setdefault(_stem(picture), []).append(picture)
    known = {picture for owners in stems.values() for picture in owners}
    others = sorted(others)
    found: dict[str, list[Caption]] = {}
    for suffix in SIDECARS:
        for other in others:
            if other.lower().endswith(suffix):
                _add_sidecar(folder, other, stems, found, problems)
    for name in METADATA_FILES:
        for other in others:
            if other.rpartition("/")[2] == name:
                rows = read_metadata(folder, other, known, problems)
                for picture, text in rows.items():
                    found.setdefault(picture, []).append(Caption(text, other))
                problems += _without_row(other, found, known)
    problems += [_two_sources(picture, captions) for picture, captions in found.items() if len(captions) > 1]
    return CaptionSet({picture: captions[0] for picture, captions in found.items()}, tuple(problems))


def has_trigger(caption: str, trigger: str) -> bool:
    """Whether `trigger` stands in the caption as words of its own, in any case."""
    return re.search(rf"(?<!\w){re.escape(trigger)}(?!\w)", caption, re.IGNORECASE) is not None


def with_trigger(caption: str, trigger: str, mode: TriggerMode = "prepend") -> str:
    """The caption that is trained on: `[trigger]` replaced, and the trigger put first where it is missing.

    Without captions the trigger alone is the caption. "keep" only replaces, and captions an uncaptioned
    picture. With an empty trigger the placeholder is taken out, so that it is never trained literally.
    """
    replaced = caption.replace(PLACEHOLDER, trigger)
    if not trigger:
        return re.sub(r"\s*,\s*,", ",", replaced).strip(" ,") if replaced != caption else caption
    if not replaced.strip():
        return trigger
    if mode == "keep" or has_trigger(replaced, trigger):
        return replaced
    return f"{trigger}, {replaced}"


def approximate_tokens(caption: str) -> int:
    """About how many CLIP tokens the caption has, without a tokenizer.

    CLIP splits into words, single digits and runs of signs; long words take about one token for nine letters,
    and letters beyond Latin, Greek and Cyrillic about one each.
    """
    pieces = _TOKENS.findall(caption)
    if caption.isascii():
        return sum(-(-len(piece) // _LETTERS_A_TOKEN) for piece in pieces)
    count = 0
    for piece in pieces:
        wide = sum(char > "\u04ff" for char in piece)
        count += wide + -(-(len(piece) - wide) // _LETTERS_A_TOKEN)
    return count


def variant(
    caption: str,
    seed: int,
    epoch: int,
    index: int,
    *,
    shuffle_tags: bool = False,
    keep_tags: int = 0,
    dropout: float = 0.0,
) -> str:
    """What draw `index` of `epoch` sees of the caption: nothing but the arguments decides.

    With probability `dropout` "" (so that guidance has an unconditional side to lean on). With `shuffle_tags`
    the comma-separated tags after the first `keep_tags` are permuted. `index`: the picture's or the draw's.
    """
    if dropout > 0 and keys.uniform(seed, "caption-dropout", epoch, index) < dropout:
        return ""
    if not shuffle_tags:
        return caption
    tags = [tag for tag in (part.strip() for part in caption.split(",")) if tag]
    first, rest = tags[:keep_tags], tags[keep_tags:]
    order = keys.permutation(len(rest), seed, "tags", epoch, index)
    return ", ".join(first + [rest[int(at)] for at in order])


def _add_sidecar(
    folder: Path,
    name: str,
    stems: Mapping[str, list[str]],
    found: dict[str, list[Caption]],
    problems: list[Finding],
) -> None:
    owners = stems.get(_stem(name), [])
    if owners:
        text = _read_sidecar(folder, name, problems)
        for owner in owners:
            found.setdefault(owner, []).append(Caption(text, name))
    elif not _is_note(name):
        problems.append(_orphan(name))


def _stem(name: str) -> str:
    folder, slash, file = name.rpartition("/")
    return folder + slash + (file.rpartition(".")[0] or file)


def _is_note(name: str) -> bool:
    return _stem(name).rpartition("/")[2].lower() in (
        "readme",
        "license",
        "licence",
        "notes",
        "prompts",
        "classes",
        "copying",
    )


def _read_sidecar(folder: Path, name: str, problems: list[Finding]) -> str:
    shown = printable(name)
    try:
        raw = _read_start(f"{folder}/{name}", MAX_SIDECAR_BYTES + 1)
    except OSError as error:
        why = error.strerror or str(error)
        what = "the caption file cannot be read"
        problems.append(Finding("caption-unreadable", shown, what, why, "check its permissions", "warning"))
        return ""
    if len(raw) > MAX_SIDECAR_BYTES:
        problems.append(
            Finding(
                "caption-unreadable",
                shown,
                f"the caption file is larger than {MAX_SIDECAR_BYTES // 1024} kB",
                "a caption is a few sentences at most, so this is taken for another kind of file",
                "rename it, or cut it down",
                "warning",
            )
        )
        return ""
    text, guessed = decode(raw)
    if guessed:
        problems.append(
            Finding(
                "caption-encoding",
                shown,
                "the caption is not UTF-8; it was read as Windows-1252",
                "letters beyond English may come out wrong",
                "save it as UTF-8",
                "warning",
            )
        )
    return clean(text)


def _read_start(path: str, limit: int) -> bytes:
    """At most `limit` bytes; plain system calls, which take half the time of a file object."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        return os.read(descriptor, limit)
    finally:
        os.close(descriptor)


def decode(raw: bytes) -> tuple[str, bool]:
    """The text of a caption file, and whether its encoding had to be guessed."""
    if raw.startswith((b"\xff\xfe", b"\xfe\xff")):
        return raw.decode("utf-16", "replace"), False
    try:
        return raw.decode("utf-8-sig"), False
    except UnicodeDecodeError:
        return raw.decode("cp1252", "replace"), True


def _orphan(name: str) -> Finding:
    return Finding(
        "caption-without-picture",
        printable(name),
        "a caption file without a picture of the same name",
        "it is not used",
        f"name it like its picture: {printable(_stem(name).rpartition('/')[2])}.png goes with it",
        "info",
    )


def _without_row(metadata: str, found: Mapping[str, list[Caption]], known: set[str]) -> list[Finding]:
    base = metadata[: len(metadata) - len(metadata.rpartition("/")[2])]
    why = "it is trained without a caption of its own"
    return [
        Finding(
            "picture-without-row",
            printable(picture),
            f"has no row in {printable(metadata)}",
            why,
            f"add a row with file_name {printable(picture.removeprefix(base))!r}, or a .txt beside it",
            "warning",
        )
        for picture in sorted(known)
        if picture.startswith(base) and picture not in found
    ]


def _two_sources(picture: str, captions: list[Caption]) -> Finding:
    same = len({caption.text for caption in captions}) == 1
    names = [printable(caption.source) for caption in captions]
    return Finding(
        "two-captions",
        printable(picture),
        f"has {'the same caption' if same else 'different captions'} in {' and '.join(names)}",
        f"{names[0]} is used",
        f"keep one of them: {' or '.join(names)}",
        "info" if same else "warning",
    )
