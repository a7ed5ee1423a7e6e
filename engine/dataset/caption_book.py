"""The captions of a folder of pictures, to be looked through and mended; what is mended goes into another folder."""

import re
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

from engine.dataset.caption_folder import file_names
from engine.dataset.caption_rules import CaptionRules
from engine.dataset.captions import PLACEHOLDER, has_trigger
from engine.dataset.metadata import clean_lines
from engine.dataset.report import Item
from engine.dataset.scan import scan
from engine.errors import UserError
from engine.files import make_private, write_atomic


class CaptionBook:
    """A caption for each picture, in lines where it has several; those that were changed are written by `save`."""

    def __init__(self, items: Sequence[Item], folder: Path) -> None:
        """`folder` is where changed captions go, in files with the pictures' names."""
        self.items = items
        self.folder = folder
        self._files = file_names([item.rel for item in items])
        self._saved = [_own(item) for item in items]
        self._texts = list(self._saved)

    @classmethod
    def open(cls, data: Path, folder: Path, recursive: bool = True) -> "CaptionBook":
        """The captions of the pictures in `data`, those in `folder` before those beside them.

        UserError where there are no pictures, or `folder` lies among them.
        """
        among = data if data.is_dir() else data.parent
        if folder.resolve().is_relative_to(among.resolve()):
            why = "the folder of the pictures is only read"
            raise UserError(f"captions cannot be written into {folder}", why, "name another captions.folder")
        rules = CaptionRules(folder=str(folder) if folder.is_dir() else "", several="lines")
        # The placeholder for the trigger stays what it is.
        report = scan(
            data, resolution=512, trigger=PLACEHOLDER, trigger_mode="keep", recursive=recursive, rules=rules
        )
        return cls(report.items or report.require().items, folder)

    def text(self, number: int) -> str:
        """The caption of a picture."""
        return self._texts[number]

    def put(self, number: int, text: str) -> None:
        """Another caption for a picture."""
        self._texts[number] = clean_lines(text)

    def changed(self, number: int) -> bool:
        """Does the caption differ from the one that is saved?"""
        return self._texts[number] != self._saved[number]

    @property
    def changes(self) -> int:
        """How many captions differ from those that are saved."""
        return sum(now != saved for now, saved in zip(self._texts, self._saved, strict=True))

    def tags(self, most: int) -> list[tuple[str, int]]:
        """What stands between commas in most captions, with how many have it; the most frequent first."""
        counter: Counter[str] = Counter()
        for text in self._texts:
            counter.update({tag for part in re.split(r"[,\n]", text) if (tag := part.strip())})
        return sorted(counter.items(), key=lambda each: (-each[1], each[0]))[:most]

    def replace(self, old: str, new: str) -> int:
        """Put `new` for `old` in all captions; commas with nothing between them leave. Returns how many changed."""
        return self._each(lambda text: _tidy(text.replace(old, new)) if old and old in text else text)

    def add(self, word: str) -> int:
        """Put the word in front of each line that lacks it. Returns how many captions changed."""
        word = clean_lines(word).replace("\n", " ")

        def added(line: str) -> str:
            if not word or has_trigger(line, word) or PLACEHOLDER in line:
                return line
            return f"{word}, {line}" if line else word

        return self._each(lambda text: "\n".join(added(line) for line in text.split("\n")))

    def _each(self, change: Callable[[str], str]) -> int:
        texts = [change(text) for text in self._texts]
        count = sum(now != before for now, before in zip(texts, self._texts, strict=True))
        self._texts = texts
        return count

    def save(self) -> int:
        """Write the captions that were changed; returns how many. OSError where that cannot be."""
        written = 0
        for number, name in enumerate(self._files):
            if not self.changed(number):
                continue
            make_private(self.folder)
            file = self.folder / name
            if not file.resolve().is_relative_to(self.folder.resolve()):
                continue  # a name in a shard that leads elsewhere
            file.parent.mkdir(parents=True, exist_ok=True)
            write_atomic(file, f"{self._texts[number]}\n")
            self._saved[number] = self._texts[number]
            written += 1
        return written


def _own(item: Item) -> str:
    if item.caption_source == "trigger":
        return ""
    return "\n".join(text for text, _ in item.choices) or item.caption


def _tidy(text: str) -> str:
    lines = (re.sub(r"\s*,(?:\s*,)+", ",", line).strip(" ,") for line in text.split("\n"))
    return clean_lines("\n".join(lines))
