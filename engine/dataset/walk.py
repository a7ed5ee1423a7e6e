"""Lists the pictures and caption files of a folder without following a link out of it."""

import os
from dataclasses import dataclass, field
from pathlib import Path

from engine.dataset.findings import Finding, printable
from engine.dataset.names import PICTURES
from engine.dataset.sidecars import JSON, SIDECARS
from engine.dataset.tables import is_table

_OTHER = (".heic", ".heif", ".avif", ".jxl", ".jp2", ".psd", ".svg", ".ico", ".tga", ".exr", ".hdr")
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
    """What a folder holds; every name is relative to it, with "/" between folders, in sorted order."""

    pictures: list[str] = field(default_factory=list)
    captions: list[str] = field(default_factory=list)
    shards: list[str] = field(default_factory=list)
    subfolders: dict[str, int] = field(default_factory=dict)
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


def walk(root: Path, recursive: bool) -> Listing:
    """The files below `root`. Hidden files, __MACOSX and pipes are passed over, links out of it refused.

    Where `recursive` is off, `subfolders` counts the pictures in each first-level subfolder instead.
    """
    listing = Listing()
    _enter(Path(os.path.realpath(root)), "", recursive, MAX_DEPTH, listing)
    listing.pictures.sort()
    listing.captions.sort()
    listing.shards.sort()
    return listing


def _enter(root: Path, inside: str, recursive: bool, depth: int, listing: Listing) -> None:
    try:
        with os.scandir(root / inside) as found:
            entries = sorted(found, key=lambda entry: entry.name)
    except OSError as error:
        listing.problems.append(
            Finding(
                "folder-unreadable",
                printable(inside) or ".",
                "the folder cannot be read",
                error.strerror or "",
                "check its permissions",
                "warning",
            )
        )
        return
    for entry in entries:
        if entry.name.startswith(".") or entry.name == "__MACOSX":
            continue
        name = inside + entry.name
        if entry.is_symlink() and not _stays_inside(root, name, listing):
            continue
        if entry.is_dir(follow_symlinks=False):
            if recursive and depth:
                _enter(root, name + "/", recursive, depth - 1, listing)
            elif not recursive:
                listing.subfolders[name] = _peek(root / name)
        elif entry.is_file():
            _sort_in(name, listing)


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


def _peek(folder: Path) -> int:
    """The number of pictures and shards below `folder`, among the first PEEK_ENTRIES entries."""
    count = seen = 0
    for _, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        seen += len(names) + 1
        count += sum(os.path.splitext(name)[1].lower() in (*PICTURES, SHARD) for name in names)  # noqa: PTH122
        if seen > PEEK_ENTRIES:
            break
    return count
