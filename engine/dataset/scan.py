"""The dataset doctor: looks at pictures in folders or tar shards and says what is wrong; never writes to them."""

import contextlib
import os
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from engine.dataset import advice, buckets
from engine.dataset.areas import FREE, Areas, Limits
from engine.dataset.beside import CLASS
from engine.dataset.caption_choices import compose
from engine.dataset.caption_rules import USUAL, CaptionRules
from engine.dataset.captions import TriggerMode
from engine.dataset.contents import file_sha256
from engine.dataset.findings import Finding, printable
from engine.dataset.found import Found, read_all_captions
from engine.dataset.images import Header, load_rgb, read_header
from engine.dataset.location import DataLocation, look
from engine.dataset.mask_files import black_masks, find_masks
from engine.dataset.masks import NONE, MaskChoice
from engine.dataset.refusals import PictureError
from engine.dataset.repeat_folders import about_sets
from engine.dataset.report import BucketBatches, Counts, DatasetReport, Item
from engine.dataset.shard_index import shard_contents
from engine.dataset.sidecars import Caption
from engine.dataset.sources import Span
from engine.dataset.whole_report import put_together
from engine.errors import UserError
from engine.run.paths import cache_root

__all__ = ["BucketBatches", "Counts", "DatasetReport", "Finding", "Item", "scan"]

Progress = Callable[[int, int], None]

_PROGRESS_EVERY = 256


def scan(
    path: Path,
    *,
    resolution: int,
    trigger: str = "",
    trigger_mode: TriggerMode = "prepend",
    bucket: bool = True,
    recursive: bool = False,
    deep: bool = False,
    step: int | None = None,
    more: Sequence[int] = (),
    limits: Limits = FREE,
    without: Collection[Path] = (),
    rules: CaptionRules = USUAL,
    masks: MaskChoice = NONE,
    on_progress: Progress | None = None,
) -> DatasetReport:
    """Everything about `path` at `resolution`; what is wrong is in the report, not an exception.

    `path` is a folder of pictures or of WebDataset shards, one .tar shard, or a pattern such as
    shards/{00000..00099}.tar. Reads headers and each file's end only; `deep` also decodes every picture and
    compares contents. With `bucket` off every picture is trained as a square. `step` is the sizes' step in
    pixels (default: by the resolution), `more` are further resolutions to train at, `limits` the shortest and longest
    side of a bucket. `without` are folders of condition pictures, which are not counted
    where they lie inside. `rules` are the plan's for captions, `masks` says where masks come from.
    `on_progress(done, total)` counts pictures, or shards. What is found in shards is kept below the cache root.
    Raises UserError only for a resolution that is no multiple of 8.
    """
    areas = Areas((resolution, *more), bucket, limits, step)
    for side in areas.resolutions:
        buckets.default_step(side)
    location = look(path, recursive, without, masks.kind == "files" and not masks.folder)
    problems = location.problems
    found = (
        _in_folder(location, on_progress) if location.listing.pictures else _in_shards(location, on_progress)
    )
    headers = found.headers
    if deep:
        _decode(found, problems, on_progress)
        problems += _duplicates(found)
    if not headers and (location.listing.pictures or location.listing.shards):
        problems.append(advice.nothing_usable(found.pictures))
    read_all_captions(found, location, rules)
    masked = find_masks(masks, found, location.listing, problems)
    if deep:
        problems += black_masks(masked)
    if not found.spans:
        problems += _about_sets(location, found)
    problems += advice.about_captions(headers, found.captions, trigger, trigger_mode)
    items: list[Item] = []
    several = 0
    for rel, header in headers.items():
        size, *others = areas.sizes_of(header.width, header.height)
        problems += advice.about_picture(rel, header, size)
        made = compose(found.sources(rel), trigger, trigger_mode, rules)
        problems += advice.about_length(rel, made, rules)
        several += made.own > 1
        picture, condition, _ = found.spans.get(rel, (None, None, None))
        own = (
            made.caption,
            made.source,
            size,
            picture,
            condition,
            None,
            made.choices,
            masked.get(rel),
            tuple(others),
        )
        items.append(Item(location.root, rel, header.width, header.height, *own))
    counts = _count(found.pictures, headers, found.captions, trigger, problems, several)
    counts = replace(counts, masked=len(masked))
    found_at = put_together(str(path), resolution, trigger, recursive, deep, items, problems, counts)
    return replace(found_at, more_resolutions=tuple(more))


def _about_sets(location: DataLocation, found: Found) -> list[Finding]:
    """What the names of folders say, of the subfolders that are not read too."""
    captions, listing = found.captions, location.listing
    pictures = {rel: rel in captions and bool(captions[rel].text) for rel in found.headers}
    deeper = {f"{name}/": False for name, count in listing.subfolders.items() if count}
    classes = [one.name for one in listing.left_out if one.kind is CLASS]
    return about_sets(location.root, pictures or deeper, classes)


def _in_folder(location: DataLocation, on_progress: Progress | None) -> Found:
    names = location.listing.pictures
    return Found(location.root, len(names), _headers(location.root, names, location.problems, on_progress))


def _in_shards(location: DataLocation, on_progress: Progress | None) -> Found:
    found, root = Found(location.root), location.root.absolute()
    for done, rel in enumerate(location.listing.shards, 1):
        shard = shard_contents(root, rel, cache_root())
        location.problems.extend(shard.problems)
        found.pictures += shard.pictures
        for sample in shard.samples:
            name = sample.picture.name
            found.headers[name] = sample.header
            found.spans[name] = (sample.picture, sample.condition, sample.mask)
            if sample.caption is not None:
                found.captions[name] = Caption.of(sample.caption, sample.source)
        if on_progress is not None:
            on_progress(done, len(location.listing.shards))
    return found


def _headers(
    path: Path, pictures: list[str], problems: list[Finding], on_progress: Progress | None
) -> dict[str, Header]:
    headers: dict[str, Header] = {}
    for done, rel in enumerate(pictures, 1):
        try:
            headers[rel] = read_header(f"{path}/{rel}")
        except PictureError as error:
            problems.append(advice.about_failure(path / rel, rel, error))
        if on_progress is not None and (done % _PROGRESS_EVERY == 0 or done == len(pictures)):
            on_progress(done, len(pictures))
    return headers


def _decode(found: Found, problems: list[Finding], on_progress: Progress | None) -> None:
    """Decodes every picture, several at a time, and takes those that fail out of the headers."""

    def attempt(rel: str) -> PictureError | None:
        try:
            load_rgb(found.source(rel))
        except PictureError as error:
            return error
        return None

    rels = list(found.headers)
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        for done, (rel, error) in enumerate(zip(rels, pool.map(attempt, rels), strict=True), 1):
            if error is not None:
                problems.append(advice.about_failure(found.source(rel), rel, error))
                del found.headers[rel]
            if on_progress is not None:
                on_progress(done, len(rels))


def _duplicates(found: Found) -> list[Finding]:
    """A finding for each copy of an earlier picture; only pictures of equal length are hashed."""
    findings: list[Finding] = []
    by_length: dict[int, list[str]] = {}
    for rel in found.headers:
        with contextlib.suppress(FileNotFoundError):
            source = found.source(rel)
            length = source.length if isinstance(source, Span) else os.stat(source).st_size  # noqa: PTH116
            by_length.setdefault(length, []).append(rel)
    for rels in by_length.values():
        first: dict[str, str] = {}
        for rel in rels if len(rels) > 1 else []:
            try:
                other = first.setdefault(file_sha256(found.source(rel)), rel)
            except UserError:
                continue
            if other != rel:
                what, why = f"is the same file as {printable(other)}", "it counts twice in training"
                findings.append(advice.say("warning", "duplicate", rel, what, why, "remove one of them"))
    return findings


def _count(
    files: int,
    headers: Mapping[str, Header],
    found: Mapping[str, Caption],
    trigger: str,
    problems: list[Finding],
    several: int,
) -> Counts:
    codes = Counter(finding.code for finding in problems)
    captioned = sum(bool(caption.text) for caption in found.values())
    return Counts(
        files=files,
        images=len(headers),
        captioned=captioned,
        unreadable=codes["unreadable"] + codes["truncated"] + codes["too-many-pixels"],
        unsupported=codes["unsupported"],
        animated=codes["animated"],
        too_small=codes["too-small"],
        duplicates=codes["duplicate"],
        alpha=codes["alpha"],
        grey=codes["grey"],
        cmyk=codes["cmyk"],
        sixteen_bit=codes["sixteen-bit"],
        rotated=codes["rotated"],
        caption_missing=len(headers) - len(found),
        caption_empty=codes["caption-empty"],
        caption_long=codes["caption-long"],
        several_captions=several,
        two_captions=codes["two-captions"],
        rows_without_file=codes["row-without-file"],
        links_outside=codes["link-outside"],
        trigger_missing=sum(
            advice.lacks_trigger(caption.text, trigger) for caption in found.values() if caption.text
        ),
    )
