"""Finds the mask of every picture by name, by opacity or in its sample, and says what is wrong with masks."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

from engine.dataset.beside import mask_stem
from engine.dataset.findings import Finding, Level, printable
from engine.dataset.found import Found
from engine.dataset.images import Header, read_header
from engine.dataset.masks import Mask, MaskChoice
from engine.dataset.names import alike, stem_of
from engine.dataset.refusals import PictureError
from engine.dataset.walk import Listing, walk

SAME_SHAPE = 0.03
"""How far a mask's shape may be from its picture's: programs that make masks round their sides."""


def find_masks(
    choice: MaskChoice, found: Found, listing: Listing, problems: list[Finding]
) -> dict[str, Mask]:
    """The masks of the pictures that were found, by their names; what is wrong with one goes to `problems`.

    Reads headers alone. A picture without a mask, or with one that does not lie on it, is trained as a whole.
    """
    headers = found.headers
    if choice.kind == "off" or not headers:
        return {}
    if choice.kind == "alpha":
        masks = {rel: Mask(found.source(rel), alpha=True) for rel, header in headers.items() if header.alpha}
    elif found.spans:
        if choice.folder:
            problems.append(_apart())
        spans = {rel: found.spans[rel][2] for rel in headers}
        masks = {rel: Mask(span) for rel, span in spans.items() if span is not None}
    elif choice.folder:
        masks = _in_folder(Path(choice.folder).expanduser(), found, problems)
    else:
        masks = _beside(found, listing, problems)
    problems += _missing(choice, headers, masks)
    return {
        rel: mask for rel, mask in masks.items() if mask.alpha or _fits(rel, mask, headers[rel], problems)
    }


def _beside(found: Found, listing: Listing, problems: list[Finding]) -> dict[str, Mask]:
    """NAME-masklabel.png and NAME_mask.png beside NAME.jpg, then the folders masks/ beside pictures."""
    by_stem = {mask_stem(name): found.root / name for name in reversed(listing.masks)}
    files: dict[str, Path] = {}
    alone: list[str] = []
    for folder in listing.mask_folders:
        above, slash, _ = folder.rpartition("/")
        within = {above + slash + rel for rel in _below(above + slash, found.headers)}
        paired, left = _by_name(found.root / folder, within, above + slash)
        files |= {rel: path for rel, path in paired.items() if rel not in files}
        alone += [f"{folder}/{name}" for name in left]
    for rel in found.headers:
        if (own := by_stem.get(stem_of(rel))) is not None:
            files[rel] = own
    problems += map(_alone, alone)
    return {rel: Mask(path) for rel, path in files.items()}


def _below(prefix: str, names: Iterable[str]) -> Iterable[str]:
    return (name.removeprefix(prefix) for name in names if name.startswith(prefix))


def _in_folder(folder: Path, found: Found, problems: list[Finding]) -> dict[str, Mask]:
    own = folder / found.root.name  # several sets have a sub-folder each
    place = own if own.is_dir() else folder
    if not place.is_dir():
        what = f"the folder of masks, {printable(str(folder))}, does not exist"
        fix = 'correct data.mask_path, or set data.masks = "off"'
        problems.append(_say("mask-folder", ".", what, "masks are read from it", fix, "error"))
        return {}
    paired, alone = _by_name(place, set(found.headers), "")
    problems += map(_alone, alone)
    return {rel: Mask(path) for rel, path in paired.items()}


def _by_name(folder: Path, pictures: Collection[str], prefix: str) -> tuple[dict[str, Path], list[str]]:
    """The picture's mask in the folder by name, behind `prefix`; and the masks that are no picture's."""
    known = {alike(stem_of(rel)): rel for rel in pictures}
    found: dict[str, Path] = {}
    alone: list[str] = []
    for name in walk(folder, recursive=True).pictures:
        rel = known.get(alike(prefix + stem_of(name))) or known.get(alike(prefix + mask_stem(name)))
        if rel is None:
            alone.append(name)
        else:
            found.setdefault(rel, folder / name)
    return found, alone


def _missing(choice: MaskChoice, headers: Mapping[str, Header], masks: Mapping[str, Mask]) -> list[Finding]:
    lacking = [rel for rel in headers if rel not in masks]
    why, alpha = "it is trained as a whole", choice.kind == "alpha"
    fix = "cut its subject out" if alpha else "add a mask of its name"
    if masks:
        what = "has no transparency" if alpha else "has no mask"
        return [_say("mask-missing", rel, what, why, fix) for rel in lacking]
    what = f"none of the {len(lacking)} pictures has {'transparency' if alpha else 'a mask'}"
    fix = 'add NAME-masklabel.png, NAME_mask.png or masks/NAME.png, or set masks = "off"'
    return [
        _say("masks-none", ".", what, "all are trained as a whole", 'set masks = "off"' if alpha else fix)
    ]


def _fits(rel: str, mask: Mask, header: Header, problems: list[Finding]) -> bool:
    """Whether the mask can be read and lies on the picture."""
    whole = "the picture is trained as a whole"
    try:
        own = read_header(mask.source)
    except PictureError as error:
        name = printable(str(mask.source).rpartition("/")[2])
        what = f"its mask {name} cannot be used: {error.why or error.what}"
        problems.append(_say("mask-unreadable", rel, what, whole, error.fix))
        return False
    if abs(own.width / own.height / (header.width / header.height) - 1) <= SAME_SHAPE:
        return True
    what = f"its mask is {own.width} x {own.height}, the picture {header.width} x {header.height}"
    why = f"of another shape, it does not lie on it; {whole}"
    problems.append(_say("mask-shape", rel, what, why, "make the mask from this very picture"))
    return False


def black_masks(masks: Mapping[str, Mask]) -> list[Finding]:
    """Of the pictures' masks those that are black throughout; decodes them all."""

    def black(mask: Mask) -> bool:
        try:
            return not mask.whole().any()
        except PictureError:
            return False  # told of when it is first looked at, or when it is needed

    return [about_black(rel) for rel, mask in masks.items() if black(mask)]


def about_black(rel: str) -> Finding:
    """A mask that leaves nothing of its picture."""
    what, why = (
        "its mask is black throughout",
        "nothing of the picture is learnt but what data.unmasked_weight leaves",
    )
    return _say("mask-black", rel, what, why, "paint what is to be learnt white, or take the picture away")


def _alone(name: str) -> Finding:
    what, why = "is a mask without a picture", "no picture of that name is trained on"
    return _say("mask-alone", name, what, why, "add the picture, or take it away")


def _apart() -> Finding:
    what, why = "a folder of masks does not go with shards", "a sample of a shard brings all that it needs"
    fix = "leave data.mask_path out: put KEY.mask.png beside KEY.jpg"
    return _say("mask-folder", ".", what, why, fix, "error")


def _say(code: str, file: str, what: str, why: str, fix: str, level: Level = "warning") -> Finding:
    return Finding(code, printable(file), what, why, fix, level)
