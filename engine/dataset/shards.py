"""Reads WebDataset shards: which members of a plain tar file make up each sample, without unpacking anything."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from engine.dataset import advice
from engine.dataset.encodings import decode
from engine.dataset.findings import Finding, printable
from engine.dataset.images import Header, read_header
from engine.dataset.json_caption import caption_of
from engine.dataset.metadata import clean_lines
from engine.dataset.names import PICTURES
from engine.dataset.refusals import PictureError
from engine.dataset.sidecars import MAX_JSON_BYTES, MAX_SIDECAR_BYTES, SIDECARS
from engine.dataset.sources import Shard, Span, stamp_of
from engine.dataset.tar import Member, TarDamage, members
from engine.dataset.walk import unpack_first
from engine.files import open_plain

MASKS = ("mask", "masklabel")
"""KEY.mask.png beside KEY.jpg says what of the picture is learnt."""
CONDITIONS = ("condition", "conditioning_image", "control")
"""KEY.condition.png beside KEY.jpg is the sample's condition picture, for ControlNet and T2I-Adapter."""
MAX_PICTURE_BYTES = 1 << 30
_COMPRESSED = {
    b"\x1f\x8b": "gzip",
    b"BZh": "bzip2",
    b"\xfd7zXZ": "xz",
    b"(\xb5/\xfd": "zstd",
}


@dataclass(frozen=True, slots=True)
class Sample:
    """One picture of a shard that can be trained on. `caption` is in clean lines, `source` the member
    that it came from."""

    picture: Span
    header: Header
    caption: str | None
    source: str
    condition: Span | None
    mask: Span | None = None


@dataclass(slots=True)
class ShardContents:
    """What one shard holds; `pictures` counts those that cannot be used too."""

    samples: list[Sample] = field(default_factory=list)
    pictures: int = 0
    problems: list[Finding] = field(default_factory=list)


@dataclass(slots=True)
class _Members:
    """The members of one key that matter."""

    picture: Member | None = None
    condition: Member | None = None
    mask: Member | None = None
    captions: dict[str, Member] = field(default_factory=dict)


def read_shard(root: Path, rel: str) -> ShardContents:
    """The samples of the shard `root`/`rel`, in the order of the archive; what is wrong is in the problems.

    A sample is all members with the same path up to the first dot of the file name. Reads the tar's headers,
    the pictures' headers and the captions; writes nothing, and no name in the archive is used as a path.
    """
    found = ShardContents()
    try:
        descriptor = open_plain(root / rel)
    except OSError as error:
        what, why = "the shard cannot be read", error.strerror or str(error)
        found.problems.append(advice.say("warning", "shard-unreadable", rel, what, why, "check its rights"))
        return found
    try:
        shard = Shard(str(root), rel, stamp_of(os.fstat(descriptor)))
        reader = _Reader(descriptor, shard, found)
        for parts in reader.group().values():
            reader.add(parts)
        reader.finish()
    finally:
        os.close(descriptor)
    return found


class _Reader:
    """One shard while it is read."""

    def __init__(self, descriptor: int, shard: Shard, found: ShardContents) -> None:
        self.descriptor = descriptor
        self.shard = shard
        self.rel = shard.rel
        self.found = found
        self.ignored: dict[str, list[str]] = {}
        self.headers: dict[Header, Header] = {}

    def group(self) -> dict[str, _Members]:
        """The parts of every sample by key; a torn archive gives those before the damage."""
        samples: dict[str, _Members] = {}
        size = self.shard.stamp.size
        if problem := self._no_tar(size):
            self.found.problems.append(problem)
            return samples
        last = ""
        try:
            for member in members(self.descriptor, size):
                last = self._sort_in(member, samples) or last
        except TarDamage as error:
            self.found.problems.append(_torn(self.rel, error, _last_whole(samples, last)))
        return samples

    def _no_tar(self, size: int) -> Finding | None:
        start = os.pread(self.descriptor, 8, 0)
        kind = next((kind for mark, kind in _COMPRESSED.items() if start.startswith(mark)), None)
        if not size:
            why, fix = "the download or copy went wrong", "download or copy it again"
            return advice.say("warning", "shard-torn", self.rel, "is an empty file", why, fix)
        return unpack_first(self.rel, kind) if kind else None

    def _sort_in(self, member: Member, samples: dict[str, _Members]) -> str:
        """The key of the sample that the member is a part of; empty where it is of none."""
        folder, _, file = member.name.removeprefix("./").rpartition("/")
        if member.kind == "folder" or file.startswith(".") or not file or "__MACOSX" in folder:
            return ""
        if member.kind != "file":
            self.ignored.setdefault(member.kind, []).append(member.name)
            return ""
        stem, _, ending = file.partition(".")
        ending = f".{ending.lower()}"
        key = f"{folder}/{stem}" if folder else stem
        parts = samples.setdefault(key, _Members())
        if ending in PICTURES:
            if parts.picture is None:
                parts.picture = member
            else:
                self.ignored.setdefault("second picture", []).append(member.name)
        elif ending in SIDECARS or ending == ".json":
            parts.captions.setdefault(ending, member)
        elif ending.startswith(tuple(f".{name}." for name in CONDITIONS)):
            parts.condition = parts.condition or member
        elif ending.startswith(tuple(f".{name}." for name in MASKS)):
            parts.mask = parts.mask or member
        elif f".{ending.rpartition('.')[2]}" in PICTURES:
            self.ignored.setdefault("other", []).append(member.name)
        return key

    def add(self, parts: _Members) -> None:
        """The sample, or a finding that says why it is none."""
        picture = parts.picture
        if picture is None:
            first = next(iter(parts.captions.values()), parts.condition or parts.mask)
            if first is not None:
                self.ignored.setdefault("no picture", []).append(first.name)
            return
        self.found.pictures += 1
        span = self._span(picture)
        try:
            if picture.size > MAX_PICTURE_BYTES:
                why = f"the limit is {MAX_PICTURE_BYTES >> 30} GiB, so that one member cannot fill the memory"
                raise PictureError("unreadable", f"{span}: has {picture.size} bytes", why, "make it smaller")
            header = read_header(span)
        except PictureError as error:
            self.found.problems.append(advice.about_failure(span, span.name, error))
            return
        text, source = self._caption(parts)
        header = self.headers.setdefault(header, header)
        condition = None if parts.condition is None else self._span(parts.condition)
        mask = None if parts.mask is None else self._span(parts.mask)
        self.found.samples.append(Sample(span, header, text, source, condition, mask))

    def _span(self, member: Member) -> Span:
        return Span(self.shard, member.offset, member.size, f"{self.rel}/{member.name}")

    def _caption(self, parts: _Members) -> tuple[str | None, str]:
        """The text and the member that it is from: .txt before .caption before .json, an empty one last."""
        empty: tuple[str | None, str] = (None, "")
        for ending in (*SIDECARS, ".json"):
            member = parts.captions.get(ending)
            if member is None:
                continue
            text = self._text(member, ending)
            if text:
                return text, f"{self.rel}/*{ending}"
            if text is not None and empty[0] is None:
                empty = text, f"{self.rel}/*{ending}"
        return empty

    def _text(self, member: Member, ending: str) -> str | None:
        limit = MAX_JSON_BYTES if ending == ".json" else MAX_SIDECAR_BYTES
        if member.size > limit:
            self.ignored.setdefault("long caption", []).append(member.name)
            return None
        raw = os.pread(self.descriptor, member.size, member.offset)
        if ending == ".json":
            return caption_of(decode(raw).text.encode())
        return clean_lines(decode(raw).text)

    def finish(self) -> None:
        """Says what was passed over, a finding a reason."""
        for reason, names in self.ignored.items():
            self.found.problems.append(_ignored(self.rel, reason, names))


_REASONS: dict[str, tuple[str, str, str]] = {
    "link": (
        "links",
        "a link may lead anywhere, and is not followed",
        "make the shard with tar --dereference",
    ),
    "device": ("entries that are no plain files", "only plain files are read", "make the shard anew"),
    "sparse": ("sparse files", "they have no bytes of their own to read", "make the shard without --sparse"),
    "second picture": (
        "second pictures of a sample",
        "the first picture of a key is the sample's",
        "give each picture a key of its own",
    ),
    "other": (
        "pictures whose names have a dot before the ending",
        "a key ends at the first dot of the file name, and what follows says what the member is",
        "name pictures KEY.jpg, condition pictures KEY.condition.png, and masks KEY.mask.png",
    ),
    "no picture": ("samples without a picture", "their captions teach nothing", "add KEY.jpg to the shard"),
    "long caption": (
        "captions that are too long",
        "a caption is a few sentences at most, so this is taken for another kind of file",
        "cut them down",
    ),
}


def _ignored(rel: str, reason: str, names: list[str]) -> Finding:
    what, why, fix = _REASONS[reason]
    shown = ", ".join(printable(name) for name in names[:3])
    told = f"{len(names)} {what} are passed over: {shown}{' ...' if len(names) > 3 else ''}"
    return advice.say("warning", f"shard-{reason.replace(' ', '-')}", rel, told, why, fix)


def _last_whole(samples: dict[str, _Members], last: str) -> str:
    """The key of the last sample before the damage; one that lost its caption there is taken out."""
    lost = last in samples and not samples[last].captions
    if lost and any(parts.captions for parts in samples.values()):
        del samples[last]
    return last if last in samples else next(reversed(samples), "")


def _torn(rel: str, error: TarDamage, last: str) -> Finding:
    where = f"after sample {printable(last)}" if last else "before its first sample"
    what = f"the shard is torn {where}, at byte {error.at:,}: what follows is left out"
    fix = "download or copy the shard again; the samples before it are used"
    return advice.say("warning", "shard-torn", rel, what, printable(str(error)), fix)
