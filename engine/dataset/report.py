"""What a scan found, as plain frozen data that the app shows, the command prints and the engine trains on."""

import textwrap
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from engine.dataset.areas import FREE, Areas, Limits
from engine.dataset.findings import Finding, Level, printable
from engine.dataset.masks import Mask
from engine.dataset.sources import Source, Span
from engine.dataset.treatment import Treatment
from engine.errors import UserError

_SHOWN_FILES = 4
_LEVELS: tuple[Level, ...] = ("error", "warning", "info")
_MARKS = {"error": "x", "warning": "!", "info": "-"}


@dataclass(frozen=True, slots=True)
class Item:
    """One picture to train on: `rel` below `folder`, width and height in pixels after EXIF rotation.

    `caption` is what is trained on (of several the first), with the trigger; `caption_source` a file's name,
    "trigger" or "". `size` is the bucket, the width and height it is trained at. `span` is where it lies in a shard,
    and `condition` where its condition picture does, for a sample of a shard that has one. `treatment` is what its set
    says of its pictures; none where the plan has no sets. `choices` are the texts that draws choose from, with their
    weights; empty where `caption` is the only one. `mask` says what of it is learnt; none is all of it.
    `more_sizes` are further sizes that it is trained at; `again` marks the picture at one of these.
    """

    folder: Path
    rel: str
    width: int
    height: int
    caption: str
    caption_source: str
    size: tuple[int, int]
    span: Span | None = None
    condition: Span | None = None
    treatment: Treatment | None = None
    choices: tuple[tuple[str, float], ...] = ()
    mask: Mask | None = None
    more_sizes: tuple[tuple[int, int], ...] = ()
    again: bool = False

    @property
    def path(self) -> Path:
        """Where the picture lies; in a shard a name to show, with the member's behind the shard's."""
        return self.folder / self.rel

    @property
    def sizes(self) -> tuple[tuple[int, int], ...]:
        """All sizes that it is trained at, its main one first."""
        return self.size, *self.more_sizes

    @property
    def source(self) -> Source:
        """What to read the picture from."""
        return self.path if self.span is None else self.span


@dataclass(frozen=True, slots=True)
class Counts:
    """How many pictures are of each kind; `files` have a picture's suffix, `images` are trained on."""

    files: int = 0
    images: int = 0
    captioned: int = 0
    unreadable: int = 0
    unsupported: int = 0
    animated: int = 0
    too_small: int = 0
    duplicates: int = 0
    alpha: int = 0
    grey: int = 0
    cmyk: int = 0
    sixteen_bit: int = 0
    rotated: int = 0
    caption_missing: int = 0
    caption_empty: int = 0
    caption_long: int = 0
    two_captions: int = 0
    several_captions: int = 0
    rows_without_file: int = 0
    links_outside: int = 0
    trigger_missing: int = 0
    masked: int = 0


@dataclass(frozen=True, slots=True)
class BucketBatches:
    """One bucket at a batch size: `repeats` pictures are drawn twice an epoch to fill its last batch."""

    width: int
    height: int
    images: int
    batches: int
    repeats: int


@dataclass(frozen=True, slots=True)
class SetCount:
    """One of several sets: its folder's name, its pictures, how often each counts in an epoch, and their weight."""

    name: str
    pictures: int
    repeats: int
    weight: float
    trigger: str


@dataclass(frozen=True)
class DatasetReport:
    """A folder, or `sets` of them, as the trainer sees it. `problems` come errors first, then by file."""

    folder: str
    resolution: int
    trigger: str
    recursive: bool
    deep: bool
    items: tuple[Item, ...]
    problems: tuple[Finding, ...]
    counts: Counts
    buckets: dict[tuple[int, int], int]
    median_size: tuple[int, int]
    words: tuple[tuple[str, int], ...]
    words_are: str
    sets: tuple[SetCount, ...] = ()
    more_resolutions: tuple[int, ...] = ()

    @property
    def errors(self) -> tuple[Finding, ...]:
        """The findings that keep training from starting."""
        return tuple(finding for finding in self.problems if finding.level == "error")

    def require(self) -> "DatasetReport":
        """The report itself; raises UserError with the first error where there is one."""
        for finding in self.errors:
            raise UserError(f"{printable(self.folder)}: {finding.what}", finding.why, finding.fix)
        return self

    def at(self, resolution: int, bucket: bool, limits: Limits = FREE) -> tuple[Item, ...]:
        """The pictures as a scan at another resolution gives them, without looking at a file again."""
        areas = Areas((resolution,), bucket, limits)
        return tuple(
            replace(item, size=areas.at(item.width, item.height, resolution), more_sizes=())
            for item in self.items
        )

    def batches(self, batch_size: int) -> tuple[BucketBatches, ...]:
        """The bucket table at `batch_size`; no picture is dropped, a bucket's last batch is filled up."""
        return tuple(
            BucketBatches(
                width, height, count, batches := -(-count // batch_size), batches * batch_size - count
            )
            for (width, height), count in self.buckets.items()
        )

    def to_json(self) -> dict[str, object]:
        """Plain data for `json.dumps`, items and findings included."""
        return {
            "folder": self.folder,
            "resolution": self.resolution,
            "more_resolutions": list(self.more_resolutions),
            "trigger": self.trigger,
            "recursive": self.recursive,
            "deep": self.deep,
            "sets": [asdict(one) for one in self.sets],
            "counts": asdict(self.counts),
            "median_size": list(self.median_size),
            "buckets": [{"width": w, "height": h, "images": n} for (w, h), n in self.buckets.items()],
            "words": [[word, count] for word, count in self.words],
            "words_are": self.words_are,
            "problems": [finding.to_json() for finding in self.problems],
            "items": [
                {
                    "file": item.rel,
                    "width": item.width,
                    "height": item.height,
                    "size": list(item.size),
                    "more_sizes": [list(size) for size in item.more_sizes],
                    "caption": item.caption,
                    "caption_source": item.caption_source,
                }
                for item in self.items
            ],
        }

    def text(self, width: int = 80) -> str:
        """The report for a terminal of `width` columns; findings of one kind are shown together."""
        lines = [*_wrap(self._headline(), width), *self._sets(width)]
        if self.buckets:
            lines += ["", *_wrap(self._sizes(), width, "  ")]
            lines += [
                f"  {f'{w} x {h}':>11}  {n:>7} {'picture' if n == 1 else 'pictures'}"
                for (w, h), n in self.buckets.items()
            ]
        if self.words:
            shown = ", ".join(f"{printable(word)} {count}" for word, count in self.words)
            lines += ["", *_wrap(f"{self.words_are}: {shown}", width, "  ")]
        for level in _LEVELS:
            for group in _grouped(self.problems, level):
                lines += ["", *_group_lines(group, width)]
        return "\n".join(lines)

    def _sizes(self) -> str:
        if not self.more_resolutions:
            return f"sizes at resolution {self.resolution}"
        sides = ", ".join(str(side) for side in (self.resolution, *self.more_resolutions))
        several = sum(bool(item.more_sizes) for item in self.items)
        count = sum(self.buckets.values())
        more = f": {count} in all, {several} pictures have several" if several else ""
        return f"sizes at resolutions {sides}{more}"

    def _sets(self, width: int) -> list[str]:
        draws = sum(one.pictures * one.repeats for one in self.sets) or 1
        lines = ["", "sets"] if self.sets else []
        for one in self.sets:
            share = f"{one.pictures * one.repeats / draws:.0%} of the draws"
            parts = [
                f"{one.pictures} {'picture' if one.pictures == 1 else 'pictures'}",
                f"repeats {one.repeats}",
                share,
            ]
            parts += [f"weight {one.weight:g}"] if one.weight != 1 else []
            parts += [f"words {printable(one.trigger)}"] if one.trigger else []
            lines += _wrap(f"  {printable(one.name)}: {', '.join(parts)}", width, "      ")
        return lines

    def _headline(self) -> str:
        n = self.counts.images
        if not n:
            return f"{printable(self.folder)}: no picture to train on"
        wide, high = self.median_size
        left_out = self.counts.files - n
        parts = [
            f"{printable(self.folder)}: {n} {'picture' if n == 1 else 'pictures'}",
            f"{self.counts.captioned} with a caption",
            f"median size {wide} x {high}",
        ]
        if self.counts.masked:
            parts.insert(2, f"{self.counts.masked} with a mask")
        if left_out > 0:
            parts.append(f"{left_out} left out")
        return ", ".join(parts)


def _grouped(problems: tuple[Finding, ...], level: Level) -> list[list[Finding]]:
    groups: dict[str, list[Finding]] = {}
    for finding in problems:
        if finding.level == level:
            groups.setdefault(finding.code, []).append(finding)
    return list(groups.values())


def _group_lines(group: list[Finding], width: int) -> list[str]:
    first = group[0]
    mark = _MARKS[first.level]
    lines: list[str] = []
    for finding in group[:_SHOWN_FILES]:
        lines += _wrap(
            f"{mark} {'folder' if finding.file == '.' else finding.file}: {finding.what}", width, "  "
        )
    if len(group) > _SHOWN_FILES:
        lines.append(f"  ... and {len(group) - _SHOWN_FILES} more like these")
    if first.why:
        lines += _wrap(f"    why: {first.why}", width, "         ")
    if first.fix:
        lines += _wrap(f"    fix: {first.fix}", width, "         ")
    return lines


def _wrap(text: str, width: int, indent: str = "") -> list[str]:
    return textwrap.wrap(text, max(20, width), subsequent_indent=indent, break_on_hyphens=False) or [""]
