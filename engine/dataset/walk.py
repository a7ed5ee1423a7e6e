"""Lists the pictures and caption files of a folder without following a link out of it."""

import os
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path

from engine.dataset.beside import (
    MASKS,
    SAMPLES,
    Kind,
    LeftOut,
    companions,
    companions_left_out,
    folder_kind,
    kind_if_paired,
    passed_over,
)
from engine.dataset.findings import Finding, printable
from engine.dataset.names import PICTURES, alike, stem_of
from engine.dataset.sidecars import JSON, SIDECARS
from engine.dataset.tables import is_table

_OTHER = (".jp2", ".psd", ".svg", ".ico", ".tga", ".exr", ".hdr")
_RAW = (".cr2", ".cr3", ".nef", ".arw", ".dng", ".raf", ".orf", ".rw2")
_VIDEO = (".mp4", ".m4v", ".mov", ".webm", ".mkv", ".avi", ".mpg", ".mpeg", ".wmv")
_ARCHIVE = (".zip", ".gz", ".rar", ".7z", ".parquet", ".arrow")
SHARD = ".tar"
COMPRESSED_SHARDS = {
    ".tar.gz": "gzip",
    ".tgz": "gzip",
    ".tar.bz2": "bzip2",
    ".tbz2": "bzip2",
    ".tar.xz": "xz",
    ".txz": "xz",
    ".tar.zst": "zstd",
}
UNSUPPORTED = {
    **dict.fromkeys(_OTHER, "a picture format that is not read"),
    **dict.fromkeys(_RAW, "a raw photograph"),
    **dict.fromkeys(_VIDEO, "a video"),
    **dict.fromkeys(_ARCHIVE, "an archive"),
}
MAX_DEPTH = 32
PEEK_ENTRIES = 20_000
"""How many entries of subfolders are looked at to say that the pictures lie there."""


@dataclass(slots=True)
class Listing:
    """What a folder holds; every name is relative to it, with "/" between folders, in sorted order.

    `left_out` are pictures that are none to train on, `companions` the files among them that lie beside pictures,
    `masks` those of them that are masks, `mask_folders` the folders of masks, `caches` the number of other trainers'
    .npz files.
    """

    pictures: list[str] = field(default_factory=list)
    captions: list[str] = field(default_factory=list)
    shards: list[str] = field(default_factory=list)
    subfolders: dict[str, int] = field(default_factory=dict)
    left_out: list[LeftOut] = field(default_factory=list)
    companions: tuple[str, ...] = ()
    masks: tuple[str, ...] = ()
    mask_folders: list[str] = field(default_factory=list)
    caches: int = 0
    problems: list[Finding] = field(default_factory=list)


def is_shard(name: str) -> bool:
    """Whether a file of that name is taken for a plain tar."""
    return name.lower().endswith(SHARD)


def compressed_shard(name: str) -> str:
    """The program that packed a tar of that name; empty for any other file."""
    lower = name.lower()
    return next((tool for ending, tool in COMPRESSED_SHARDS.items() if lower.endswith(ending)), "")


def unpack_first(name: str, tool: str) -> Finding:
    """The refusal of a packed tar, by name."""
    return Finding(
        "unsupported",
        printable(name),
        f"is a tar shard packed with {tool}",
        "a member of a packed tar cannot be found without unpacking all that comes before it",
        f"unpack it once, which changes little in size as pictures are packed already: {tool} -d -k {printable(name)}",
        "warning",
    )


def walk(root: Path, recursive: bool, without: Collection[Path] = ()) -> Listing:
    """The files below `root`. Pipes are passed over, links out of it refused, and what is no picture to train on
    is counted (engine.dataset.beside).

    Where `recursive` is off, `subfolders` counts the pictures in each first-level subfolder instead. `without` are
    folders that are passed over where they lie inside.
    """
    listing = Listing()
    top = Path(os.path.realpath(root))
    real = os.path.abspath(root)  # noqa: PTH100  (texts, of which relpath makes names)
    apart = {os.path.relpath(os.path.abspath(path), real) for path in without}  # noqa: PTH100
    apart |= {os.path.relpath(os.path.realpath(path), top) for path in without}
    _Walk(top, recursive, apart, listing).enter("", MAX_DEPTH)
    listing.pictures.sort()
    listing.captions.sort()
    listing.shards.sort()
    if beside := companions(listing.pictures):
        listing.pictures = [name for name in listing.pictures if name not in beside]
        listing.left_out += companions_left_out(beside)
        listing.companions = tuple(beside)
        listing.masks = tuple(name for name, kind in beside.items() if kind is MASKS)
    return listing


class _Walk:
    """One walk below `root`; folders that may be of another kind are held until all names are known."""

    def __init__(self, root: Path, recursive: bool, apart: Collection[str], listing: Listing) -> None:
        self.root = root
        self.recursive = recursive
        self.apart = apart
        self.listing = listing
        self.doubtful: list[tuple[str, Kind]] = []

    def enter(self, inside: str, depth: int) -> None:
        """List the folder `inside`, "" or a name that ends in "/", and where `recursive` what lies below it."""
        try:
            with os.scandir(self.root / inside) as found:
                entries = sorted(found, key=lambda entry: entry.name)
        except OSError as error:
            what, why = "the folder cannot be read", error.strerror or ""
            shown = printable(inside) or "."
            self.listing.problems.append(
                Finding("folder-unreadable", shown, what, why, "check its permissions", "warning")
            )
            return
        names = {entry.name for entry in entries}
        for entry in entries:
            name = inside + entry.name
            if passed_over(entry.name) or name in self.apart:
                continue
            if entry.is_symlink() and not _stays_inside(self.root, name, self.listing):
                continue
            if entry.is_dir(follow_symlinks=False):
                self._folder(name, names, depth)
            elif entry.is_file() and not entry.name.startswith("."):
                _sort_in(name, self.listing)
        if not inside:
            self._settle()

    def _folder(self, name: str, siblings: Collection[str], depth: int) -> None:
        path, own = self.root / name, name.rpartition("/")[2]
        kind = folder_kind(own, siblings) or (SAMPLES if _is_run_folder(path) else None)
        if kind is not None:
            if count := _peek(path, all_of_it=True):
                self._leave_out(kind, name, count)
        elif not self.recursive:
            self.listing.subfolders[name] = _peek(path)
        elif depth:
            doubt = kind_if_paired(own)
            if doubt is not None:
                self.doubtful.append((name, doubt))
            self.enter(name + "/", depth - 1)

    def _settle(self) -> None:
        """Takes the doubtful folders out whose pictures have the names of others."""
        for folder, kind in self.doubtful:
            prefix = folder + "/"
            mine = [name for name in self.listing.pictures if name.startswith(prefix)]
            others = {_last_stem(name) for name in self.listing.pictures if not name.startswith(prefix)}
            if mine and sum(_last_stem(name) in others for name in mine) * 2 > len(mine):
                for kept in (self.listing.pictures, self.listing.captions):
                    kept[:] = [name for name in kept if not name.startswith(prefix)]
                self._leave_out(kind, folder, len(mine))

    def _leave_out(self, kind: Kind, folder: str, count: int) -> None:
        self.listing.left_out.append(LeftOut(kind, folder, count))
        if kind is MASKS:
            self.listing.mask_folders.append(folder)


def _last_stem(name: str) -> str:
    return alike(stem_of(name.rpartition("/")[2]))


def _is_run_folder(path: Path) -> bool:
    # os.path's own: Path's raises where a folder may not be looked into.
    return os.path.isfile(path / "events.jsonl") and os.path.isfile(path / "plan.toml")  # noqa: PTH113


def _sort_in(name: str, listing: Listing) -> None:
    suffix = os.path.splitext(name)[1].lower().rstrip()  # noqa: PTH122  (a Path a file would halve the scan's speed)
    if suffix in PICTURES:
        listing.pictures.append(name)
    elif suffix in SIDECARS or suffix == JSON or is_table(name):
        listing.captions.append(name)
    elif suffix == SHARD:
        listing.shards.append(name)
    elif packed := compressed_shard(name):
        listing.problems.append(unpack_first(name, packed))
    elif suffix == ".npz":
        listing.caches += 1
    elif suffix in UNSUPPORTED:
        listing.problems.append(
            Finding(
                "unsupported",
                printable(name),
                f"is {UNSUPPORTED[suffix]}",
                "only PNG, JPEG, WebP, BMP, TIFF and still GIF files are trained on",
                "unpack or convert it to PNG or JPEG",
                "warning",
            )
        )


def _stays_inside(root: Path, name: str, listing: Listing) -> bool:
    """Whether the link `name` leads to a file inside `root`; if not, a finding says why it is passed over."""
    try:
        target = (root / name).resolve(strict=True)
    except (OSError, RuntimeError):
        what, why = "is a link that leads nowhere", "its target is missing"
    else:
        if target.is_relative_to(root):
            return target.is_file()
        what, why = "is a link to a file or folder outside", "only what lies in the folder itself is read"
    listing.problems.append(
        Finding("link-outside", printable(name), what, why, "copy the file into the folder", "warning")
    )
    return False


def _peek(folder: Path, all_of_it: bool = False) -> int:
    """The number of pictures and shards below `folder`, among the first PEEK_ENTRIES entries; of its subfolders
    those with pictures to train on, or `all_of_it`."""
    count = seen = 0
    for _, folders, names in os.walk(folder):
        if not all_of_it:
            folders[:] = [name for name in folders if not passed_over(name) and not folder_kind(name, ())]
        seen += len(names) + 1
        count += sum(os.path.splitext(name)[1].lower() in (*PICTURES, SHARD) for name in names)  # noqa: PTH122
        if seen > PEEK_ENTRIES:
            break
    return count
