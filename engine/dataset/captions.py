"""Finds each picture's captions, and puts the trigger word in."""

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from engine.dataset.findings import Finding, printable
from engine.dataset.metadata import read_metadata
from engine.dataset.names import PictureNames, nfc
from engine.dataset.sidecars import Caption, read_json_sidecars, read_sidecars
from engine.dataset.tables import METADATA_FILES, is_table

MAX_TOKENS = 75
"""What CLIP's text encoder reads at once: 77 tokens less the start and the end."""
MOST_TOKENS = 225
"""What is read of a caption at most, in chunks of so many."""
PLACEHOLDER = "[trigger]"

TriggerMode = Literal["prepend", "keep"]

_TOKENS = re.compile(r"'(?:s|t|re|ve|m|ll|d)\b|[^\W\d_]+|\d|[^\s\w]+|_+", re.IGNORECASE)
_LETTERS_A_TOKEN = 9


@dataclass(frozen=True, slots=True)
class CaptionSet:
    """The captions found, by the picture's relative path; a picture without one is not in `captions`.

    `several` has all of a picture with more than one source, the one in `captions` first. `conditions`
    are the pictures that a table names as the condition of another.
    """

    captions: Mapping[str, Caption]
    problems: tuple[Finding, ...]
    conditions: frozenset[str] = frozenset()
    several: Mapping[str, tuple[Caption, ...]] = field(default_factory=dict)


def read_captions(
    folder: Path,
    pictures: Iterable[str],
    others: Iterable[str],
    left_out: Collection[str] = (),
    all_sources: bool = False,
) -> CaptionSet:
    """The captions of `pictures`, looked for among `others`; all are paths relative to `folder`.

    The first of these that exists counts: same-name .txt, same-name .caption, a file of nearly that name
    (engine.dataset.sidecars), the row of a table in the order of METADATA_FILES, the caption in a same-name .json.
    Of captions of pictures that are `left_out` nothing is said, nor of several where `all_sources` count. Never
    raises for a bad file.
    """
    problems: list[Finding] = []
    names = PictureNames(pictures)
    others = sorted(others)
    found = read_sidecars(folder, names, others, left_out, problems)
    conditions: set[str] = set()
    tables = sorted((other for other in others if is_table(other)), key=_rank)
    read: set[tuple[str, bool]] = set()
    for other in tables:
        # Of the tables that kohya's steps leave in a folder the last one holds all that the others do.
        kind = (other.rpartition("/")[0], other.rpartition("/")[2].lower().startswith("meta_"))
        if kind[1] and kind in read:
            continue
        read.add(kind)
        table = read_metadata(folder, other, names, left_out, problems)
        conditions |= {picture for name in table.conditions.values() if (picture := names.find(name))}
        for picture, text in table.captions.items():
            found.setdefault(picture, []).append(Caption.of(text, other))
        if table.captions or not other.lower().endswith(".json"):
            problems += _without_row(other, found, names.known - conditions)
    lacking = names.known - conditions - (set() if all_sources else found.keys())
    for picture, own in read_json_sidecars(folder, names, others, lacking).items() if lacking else ():
        found.setdefault(picture, []).extend(own)
    several = {picture: tuple(own) for picture, own in found.items() if len(own) > 1}
    if not all_sources:
        problems += [_two_sources(picture, own) for picture, own in several.items()]
    captions = {picture: own[0] for picture, own in found.items() if picture not in conditions}
    return CaptionSet(captions, tuple(problems), frozenset(conditions), several)


def _rank(name: str) -> tuple[int, str]:
    return METADATA_FILES.index(name.rpartition("/")[2].lower()), name


def has_trigger(caption: str, trigger: str) -> bool:
    """Whether `trigger` stands in the caption as words of its own, in any case and Unicode form."""
    word = re.escape(nfc(trigger))
    return re.search(rf"(?<!\w){word}(?!\w)", nfc(caption), re.IGNORECASE) is not None


def with_trigger(caption: str, trigger: str, mode: TriggerMode = "prepend") -> str:
    """The caption that is trained on: `[trigger]` replaced, and the trigger put first where it is missing.

    Without captions the trigger alone is the caption. "keep" only replaces, and captions an uncaptioned
    picture. With an empty trigger the placeholder is taken out, so that it is never trained literally.
    """
    trigger = nfc(trigger)
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


def chunks(caption: str, most: int) -> int:
    """About how many chunks of MAX_TOKENS are read of the caption, where `most` tokens are."""
    # A token is a character or more, so most captions need no count.
    if most <= MAX_TOKENS or len(caption) <= MAX_TOKENS:
        return 1
    return max(1, -(-min(approximate_tokens(caption), most) // MAX_TOKENS))


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


def _two_sources(picture: str, captions: Sequence[Caption]) -> Finding:
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
