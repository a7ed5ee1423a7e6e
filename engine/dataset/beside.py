"""What lies beside pictures and is no training picture: thumbnails, bins, masks, conditions, previews and others."""

import os
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from engine.dataset.findings import Finding, Level, printable
from engine.dataset.names import stem_of


@dataclass(frozen=True)
class Kind:
    """A kind of picture that is left out, as a finding says it; `what` follows a number of pictures."""

    code: str
    level: Level
    what: str
    why: str
    fix: str = "to train on them, rename the folder, or point at it"


THUMBNAILS = Kind("thumbnails", "info", "thumbnails", "they are small copies of pictures")
BIN = Kind("deleted", "info", "deleted or older pictures", "the system keeps them for a while")
HIDDEN = Kind("hidden", "info", "pictures in a hidden folder", "such folders belong to programs")
SYSTEM = Kind("hidden", "info", "pictures of the system", "they are no pictures of yours")
CONDITIONS = Kind(
    "conditions-left-out",
    "warning",
    "condition pictures",
    "they go with ControlNet and T2I-Adapter, as the folder condition_path; trained on as pictures they teach maps",
)
MASKS = Kind(
    "masks",
    "warning",
    "masks",
    "they are not used; trained on as pictures they teach black and white",
    'data.masks = "files" weighs the loss with them; to train on them, rename the folder, or point at it',
)
CLASS = Kind(
    "class-pictures",
    "warning",
    "class pictures",
    "they show others of the kind; trained on with the pictures they teach the wrong subject",
    "move the folder out of this one and give it as data.class_path; to train on them, rename it",
)
SAMPLES = Kind(
    "samples", "info", "previews of an earlier run", "a model that is taught its own pictures gets worse"
)

_BY_NAME: Mapping[str, Kind] = {
    **dict.fromkeys(("@eadir", "thumbnails", "thumbs", "_thumbs", "_thumbnails", "@__thumb"), THUMBNAILS),
    **dict.fromkeys(("#recycle", "@recycle", "$recycle.bin", "recycler", "recycled", "trash"), BIN),
    **dict.fromkeys(("#snapshot", "@recently-snapshot", "@snapshot"), BIN),
    **dict.fromkeys(("lost+found", "system volume information", "found.000", "@tmp", "@appstore"), SYSTEM),
    **dict.fromkeys(
        ("conditioning", "conditioning_image", "conditioning_images", "condition_images"), CONDITIONS
    ),
    **dict.fromkeys(("control_images", "control_image", "controlnet"), CONDITIONS),
    **dict.fromkeys(("masks", "masklabel", "masklabels", "mask_images"), MASKS),
    **dict.fromkeys(("reg", "reg_images", "regularization", "regularization_images", "class_images"), CLASS),
}
_IF_PAIRED: Mapping[str, Kind] = {
    **dict.fromkeys(
        ("condition", "conditions", "control", "controls", "canny", "depth", "openpose"), CONDITIONS
    ),
    **dict.fromkeys(("lineart", "hed", "softedge", "scribble", "normal", "segmentation"), CONDITIONS),
    "mask": MASKS,
}
"""Words that may name a subject too: such a folder is left out where its pictures have the names of others."""
_SYSTEM_FILES = frozenset(("__macosx",))
"""Left out without a word: nothing in it is anybody's picture."""
_OUTPUTS = (".safetensors", ".ckpt", ".pt", ".pth")
_WORDS = ("masklabel", "condlabel", "mask", "control", "condition", "conditioning", "conditioning_image")
_COMPANION = re.compile(rf"(.+?)[-_. ]({'|'.join(_WORDS)})", re.IGNORECASE)
_MAYBE = ("mask", "cond", "control")


@dataclass(frozen=True, slots=True)
class LeftOut:
    """So many pictures in the folder or files `name`, and what kind they are of."""

    kind: Kind
    name: str
    pictures: int

    def finding(self) -> Finding:
        """What is said of it."""
        what = f"{self.pictures} {self.kind.what} are left out"
        return Finding(
            self.kind.code, printable(self.name), what, self.kind.why, self.kind.fix, self.kind.level
        )


def passed_over(name: str) -> bool:
    """Whether an entry is of a kind that nobody needs to hear of."""
    return name[0] in "._" and (name.startswith("._") or name.lower() in _SYSTEM_FILES)


def folder_kind(name: str, siblings: Collection[str]) -> Kind | None:
    """Why the pictures in a folder of that name are none to train on; `siblings` are the names beside it."""
    lower = name.lower()
    if lower.startswith(".trash"):
        return BIN
    if "thumb" in lower and lower.startswith("."):
        return THUMBNAILS
    if name.startswith("."):
        return HIDDEN
    if lower in ("sample", "samples") and _is_output(siblings):
        return SAMPLES
    return _BY_NAME.get(lower)


def kind_if_paired(name: str) -> Kind | None:
    """Why they are none if their names are those of other pictures."""
    return _IF_PAIRED.get(name.lower())


def _is_output(siblings: Collection[str]) -> bool:
    """Whether a folder with these entries holds a trained model, or is a run's."""
    return "events.jsonl" in siblings or any(name.lower().endswith(_OUTPUTS) for name in siblings)


def companions(pictures: Iterable[str]) -> dict[str, Kind]:
    """The pictures that belong to another one beside them, such as cat-masklabel.png beside cat.png."""
    pictures = list(pictures)
    # One search through all names is ten times as fast as one for each.
    text = "\n".join(pictures).lower()
    if not any(word in text for word in _MAYBE):
        return {}
    doubtful = [name for name in pictures if any(word in name.lower() for word in _MAYBE)]
    stems = {stem_of(name) for name in pictures}
    found: dict[str, Kind] = {}
    for name in doubtful:
        folder, _, file = stem_of(name).rpartition("/")
        match = _COMPANION.fullmatch(file)
        if match and os.path.join(folder, match[1]) in stems:  # noqa: PTH118  (a relative name, joined as a text)
            found[name] = MASKS if "mask" in match[2].lower() else CONDITIONS
    return found


def mask_stem(name: str) -> str:
    """The stem of the picture that a mask of that name belongs to; the name's own where it says nothing of masks."""
    folder, slash, file = stem_of(name).rpartition("/")
    match = _COMPANION.fullmatch(file)
    return folder + slash + (match[1] if match and "mask" in match[2].lower() else file)


def companions_left_out(found: Mapping[str, Kind]) -> list[LeftOut]:
    """Those of each kind together, under the name of the first."""
    by_kind: dict[str, list[str]] = {}
    kinds = {kind.code: kind for kind in found.values()}
    for name, kind in found.items():
        by_kind.setdefault(kind.code, []).append(name)
    return [LeftOut(kinds[code], names[0], len(names)) for code, names in by_kind.items()]
