"""What the dataset doctor has to say: for each thing that it may find, the reason and the next step."""

from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path

from engine.dataset import buckets
from engine.dataset.caption_choices import Composed
from engine.dataset.caption_draws import plain
from engine.dataset.caption_rules import CaptionRules
from engine.dataset.captions import (
    MOST_TOKENS,
    PLACEHOLDER,
    TriggerMode,
    approximate_tokens,
    has_trigger,
)
from engine.dataset.findings import Finding, Level, printable
from engine.dataset.images import Header
from engine.dataset.refusals import PictureError
from engine.dataset.sidecars import Caption
from engine.dataset.sources import Source
from engine.dataset.walk import Listing, compressed_shard, unpack_first

BLURRED_FROM = 1.5
"""From this enlargement on a picture is visibly soft, so it is a warning and no longer a note."""
CUT_FROM = 0.2
"""The part of a picture that may be cut away before it is worth a note."""


def say(level: Level, code: str, file: str, what: str, why: str = "", fix: str = "") -> Finding:
    """A Finding about `file`, its name made printable."""
    return Finding(code, printable(file), what, why, fix, level)


def about_path(path: Path) -> list[Finding]:
    """What is wrong with `path`, which is neither a folder nor a shard."""
    if packed := compressed_shard(path.name) if path.exists() else "":
        return [replace(unpack_first(path.name, packed), level="error")]
    if path.exists():
        what, why = "is a file, not a folder", "a dataset is a folder of pictures, or a .tar shard"
        return [say("error", "not-a-folder", ".", what, why, f"use {printable(str(path.parent))}")]
    near = next(parent for parent in path.absolute().parents if parent.exists())
    why = f"{printable(str(near))} exists, the rest of the path does not"
    return [say("error", "folder-missing", ".", "the folder does not exist", why, "correct data.path")]


def about_listing(path: Path, listing: Listing) -> list[Finding]:
    """Whether there are pictures or shards, not both, and whether they lie one level deeper."""
    found: list[Finding] = [one.finding() for one in listing.left_out]
    if listing.caches:
        what = f"{listing.caches} .npz files are not used"
        found.append(
            say("info", "caches", ".", what, "they are another trainer's caches; own ones lie elsewhere")
        )
    deeper = {name: count for name, count in listing.subfolders.items() if count}
    if deeper:
        shown = ", ".join(f"{printable(name)} ({count})" for name, count in list(deeper.items())[:5])
        why, fix = (
            "subfolders are not read unless asked for",
            "point at one of them, or read the folder recursively",
        )
        if listing.pictures or listing.shards:
            found.append(
                say("info", "subfolders", ".", f"more pictures lie in subfolders: {shown}", why, fix)
            )
        else:
            found.append(
                say("error", "only-subfolders", ".", f"all pictures lie in subfolders: {shown}", why, fix)
            )
    if listing.pictures and listing.shards:
        found.append(_mixed(path, listing))
    if not (listing.pictures or listing.shards or deeper):
        why = "PNG, JPEG, WebP, BMP, TIFF and still GIF files are read, and .tar shards of them"
        fix = "put pictures into it, or correct data.path"
        what = "the folder holds no picture"
        if listing.left_out:
            first = listing.left_out[0]
            what, why = "the folder holds no picture to train on", f"all are left out: {first.finding().what}"
            fix = f"if they are meant, point data.path at {printable(str(path / first.name))}"
        found.append(say("error", "folder-empty", ".", what, why, fix))
    return found


def _mixed(path: Path, listing: Listing) -> Finding:
    pictures, shards = len(listing.pictures), len(listing.shards)
    what = (
        f"holds both pictures ({pictures}, such as {printable(listing.pictures[0])}) "
        f"and tar shards ({shards}, such as {printable(listing.shards[0])})"
    )
    why = "the same pictures may lie in both, and it is not clear which are meant"
    first, last = (printable(name) for name in (listing.shards[0], listing.shards[-1]))
    only = first if shards == 1 else f"{{{first.removesuffix('.tar')},...,{last.removesuffix('.tar')}}}.tar"
    fix = f"move one kind into a folder of its own, or name the shards: data.path = {printable(str(path))}/{only}"
    return say("error", "mixed", ".", what, why, fix)


def no_shard(name: str) -> Finding:
    """A name of a pattern that is no plain tar."""
    if packed := compressed_shard(name):
        return replace(unpack_first(name, packed), level="error")
    fix = "write a pattern such as shards/{00000..00099}.tar"
    return say("error", "pattern", name, "is no .tar shard", "a pattern stands for shards only", fix)


def shards_missing(names: list[str], total: int) -> Finding:
    """Shards that a pattern names and that are not there."""
    shown = ", ".join(printable(name) for name in names[:4]) + (" ..." if len(names) > 4 else "")
    what = f"of the {total} shards of the pattern, {len(names)} cannot be found: {shown}"
    level: Level = "error" if len(names) == total else "warning"
    why = "none is left" if level == "error" else "the others are used"
    return say(level, "shard-missing", ".", what, why, "correct the pattern, or bring the shards")


def nothing_usable(pictures: int) -> Finding:
    """Files are there, and none of them can be trained on."""
    if pictures:
        what, why, fix = (
            f"none of the {pictures} pictures can be used",
            "each is listed with its reason",
            "replace them",
        )
    else:
        what = "the shards hold no picture"
        why = "a sample is a picture KEY.jpg (or .png, .webp ...), with KEY.txt or KEY.json for its caption"
        fix = "name the members so, or correct data.path"
    return say("error", "nothing-usable", ".", what, why, fix)


def about_failure(source: Source, rel: str, error: PictureError) -> Finding:
    """A picture that cannot be read."""
    what = printable(error.what.removeprefix(f"{source}: "))
    return say("warning", error.code, rel, f"{what}; it is left out", printable(error.why), error.fix)


def about_picture(rel: str, header: Header, size: buckets.Size) -> list[Finding]:
    """What one readable picture's header gives reason to say."""
    found = _about_size(rel, header, size)
    if header.alpha:
        found.append(say("info", "alpha", rel, "has transparency", "the background colour is laid under it"))
    if header.grey:
        found.append(
            say("info", "grey", rel, "is a grey picture", "it teaches that its subject has no colour")
        )
    if header.mode == "CMYK":
        why = "its colours are converted without a profile and may shift"
        found.append(say("info", "cmyk", rel, "is a CMYK picture, made for print", why, "save it as sRGB"))
    if header.sixteen_bit:
        found.append(say("info", "sixteen-bit", rel, "has 16 bits a channel", "the upper 8 are used"))
    if header.orientation != 1:
        found.append(say("info", "rotated", rel, "is turned upright", "its EXIF entry asks for it"))
    if header.several_pages:
        what = "has several pages, of which the first is used"
        found.append(
            say("warning", "pages", rel, what, "one file is one picture", "save each page as a file")
        )
    return found


def _about_size(rel: str, header: Header, size: buckets.Size) -> list[Finding]:
    found: list[Finding] = []
    shape, target = f"{header.width} x {header.height}", f"{size[0]} x {size[1]}"
    scale = buckets.upscale(header.width, header.height, size)
    if scale > 1:
        level: Level = "warning" if scale > BLURRED_FROM else "info"
        what = f"{shape} is enlarged {scale:.2f} times to {target}"
        fix = "use a larger picture, or a lower resolution"
        found.append(say(level, "too-small", rel, what, "the model learns the blur too", fix))
    lost = buckets.cut(header.width, header.height, size)
    if lost > CUT_FROM:
        what = f"{lost:.0%} of {shape} is cut away to get {target}"
        why, fix = "it is longer than the sizes allow", "crop it yourself if its edges matter"
        found.append(say("info", "cut", rel, what, why, fix))
    return found


def about_captions(
    pictures: Collection[str],
    found: Mapping[str, Caption],
    trigger: str,
    mode: TriggerMode,
) -> list[Finding]:
    """Missing and empty captions, missing triggers; one finding where it is true of all."""
    own = {rel: caption for rel, caption in found.items() if caption.text}
    findings = _about_missing(pictures, found, own, trigger)
    for rel, caption in own.items():
        if PLACEHOLDER in caption.text and not trigger:
            what = f"its caption says {PLACEHOLDER}, but there is no trigger word"
            findings.append(
                say("warning", "placeholder", rel, what, "the placeholder is taken out", "set a trigger word")
            )
    return findings + _about_trigger(own, trigger, mode)


def about_length(rel: str, made: Composed, rules: CaptionRules) -> list[Finding]:
    """Whether one of the picture's captions is longer than what is read of it."""
    limit, longest = rules.max_tokens, 0
    for text in (made.caption, *(plain(text, rules) for text, _ in made.choices)):
        # A token is a character or more, so most captions need no count.
        longest = max(longest, approximate_tokens(text) if len(text) > limit else 0)
    if longest <= limit:
        return []
    what = f"its caption has about {longest} tokens, of which {limit} are read"
    fix = "shorten it, what matters first"
    fix += f"; captions.max_tokens reads up to {MOST_TOKENS}" if limit < MOST_TOKENS else ""
    return [say("warning", "caption-long", rel, what, "the text encoder reads no further", fix)]


def lacks_trigger(caption: str, trigger: str) -> bool:
    """Whether neither the trigger nor its placeholder stands in the caption."""
    return bool(trigger) and PLACEHOLDER not in caption and not has_trigger(caption, trigger)


def _about_missing(
    pictures: Collection[str], found: Mapping[str, Caption], own: Mapping[str, Caption], trigger: str
) -> list[Finding]:
    then = f"trained with {trigger!r} alone" if trigger else "trained without any words"
    fix = "write a .txt of the same name" + ("" if trigger else ", or set a trigger word")
    findings: list[Finding] = []
    if pictures and not own:
        level: Level = "info" if trigger else "warning"
        findings.append(say(level, "no-captions", ".", "no picture has a caption", f"all are {then}", fix))
    for rel in pictures:
        if rel in found and rel not in own:
            what = f"its caption in {printable(found[rel].source)} is empty"
            findings.append(say("warning", "caption-empty", rel, what, f"it is {then}", fix))
        elif own and rel not in found:
            findings.append(say("warning", "caption-missing", rel, "has no caption", f"it is {then}", fix))
    return findings


def _about_trigger(own: Mapping[str, Caption], trigger: str, mode: TriggerMode) -> list[Finding]:
    lacking = [rel for rel, caption in own.items() if lacks_trigger(caption.text, trigger)]
    prepended = mode == "prepend"
    level: Level = "info" if prepended else "warning"
    why = "it is put before the caption" if prepended else "the picture does not teach it"
    fix = "" if prepended else f"write {trigger!r} or {PLACEHOLDER} into the caption"
    if lacking and len(lacking) == len(own):
        what = f"the trigger {trigger!r} stands in none of the {len(own)} captions"
        return [say(level, "trigger-missing", ".", what, why, fix)]
    return [
        say(level, "trigger-missing", rel, f"its caption lacks the trigger {trigger!r}", why, fix)
        for rel in lacking
    ]
