"""Finds the picture that a caption file or a table's row means, though another system wrote the name."""

import posixpath
import unicodedata
from collections.abc import Iterable

from engine.dataset.other_formats import SUFFIXES

PICTURES = frozenset(
    (".png", ".apng", ".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".bmp", ".dib", ".tif", ".tiff", ".gif")
).union(SUFFIXES)


def nfc(text: str) -> str:
    """Composed Unicode: macOS writes "é" as two characters in names, everybody else as one."""
    return text if text.isascii() else unicodedata.normalize("NFC", text)


def alike(name: str) -> str:
    """What names of the same file have in common: Unicode form, case and spaces at the ends of its parts."""
    return "/".join(part.strip() for part in nfc(nfc(name).casefold()).split("/"))


def stem_of(name: str) -> str:
    """A relative name without its last suffix."""
    folder, slash, file = name.rpartition("/")
    return folder + slash + (file.rpartition(".")[0] or file)


def has_picture_suffix(name: str) -> bool:
    """Whether a file of that name is taken for a picture."""
    return posixpath.splitext(name)[1].lower().rstrip() in PICTURES


def is_absolute(name: str) -> bool:
    """Whether a name with "/" between its parts starts at a root, be it another system's."""
    return name.startswith("/") or (len(name) > 2 and name[1] == ":" and name[2] == "/" and name[0].isalpha())


class PictureNames:
    """The pictures of a folder by name; each look-up takes the exact name first, and then one that is alike."""

    def __init__(self, pictures: Iterable[str]) -> None:
        self.stems: dict[str, list[str]] = {}
        for picture in pictures:
            self.stems.setdefault(stem_of(picture), []).append(picture)
        self.known = {picture for owners in self.stems.values() for picture in owners}
        self._alike: dict[str, list[str]] | None = None

    def find(self, name: str) -> str | None:
        """The picture of that relative name; a name without suffix stands for the one picture that has it."""
        if name in self.known:
            return name
        owners = self.stems.get(name) or self.near(name)
        return owners[0] if len(owners) == 1 else None

    def near(self, name: str) -> list[str]:
        """The pictures whose names, with or without suffix, are like `name`."""
        if self._alike is None:
            self._alike = {}
            for stem, owners in self.stems.items():
                for picture in owners:
                    for key in {alike(picture), alike(stem)}:
                        self._alike.setdefault(key, []).append(picture)
        return self._alike.get(alike(name), [])

    def ending(self, path: str, base: str) -> str | None:
        """The picture below `base` that the longest end of an absolute path names."""
        parts = [part for part in path.split("/") if part]
        for start in range(len(parts)):
            if found := self.find(posixpath.normpath(posixpath.join(base, *parts[start:]))):
                return found
        return None
