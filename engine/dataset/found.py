"""What a scan has found so far: the pictures that can be used, and all captions of each."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from engine.dataset.caption_folder import read_folder
from engine.dataset.caption_rules import CaptionRules
from engine.dataset.captions import read_captions
from engine.dataset.images import Header
from engine.dataset.location import DataLocation
from engine.dataset.sidecars import Caption
from engine.dataset.sources import Source, Span


@dataclass(slots=True)
class Found:
    """The usable pictures by name, below `root`, and of how many; `spans` has a shard's picture, condition and mask."""

    root: Path
    pictures: int = 0
    headers: dict[str, Header] = field(default_factory=dict)
    captions: dict[str, Caption] = field(default_factory=dict)
    several: dict[str, Sequence[Caption]] = field(default_factory=dict)
    spans: dict[str, tuple[Span, Span | None, Span | None]] = field(default_factory=dict)

    def sources(self, rel: str) -> Sequence[Caption]:
        """All captions of a picture, the one that counts first."""
        if rel in self.several:
            return self.several[rel]
        return (self.captions[rel],) if rel in self.captions else ()

    def source(self, rel: str) -> Source:
        """What to read a picture from."""
        return self.spans[rel][0] if rel in self.spans else self.root / rel


def read_all_captions(found: Found, location: DataLocation, rules: CaptionRules) -> None:
    """Captions beside the pictures, and before them those in a folder of their own; conditions leave the pictures."""
    headers, problems = found.headers, location.problems
    if location.listing.captions:
        left_out = {name for name in location.listing.pictures if name not in headers}
        left_out |= set(location.listing.companions)
        left_out |= {finding.file for finding in problems if finding.code == "unsupported"}
        every = rules.several in ("files", "all") or bool(rules.folder)
        read = read_captions(location.root, headers, location.listing.captions, left_out, every)
        problems += read.problems
        found.captions.update(read.captions)
        found.several.update(read.several)
        for rel in read.conditions:
            del headers[rel]
        found.pictures -= len(read.conditions)
    if rules.folder:
        folder = Path(rules.folder).expanduser()
        own = folder / location.root.name  # several sets have a sub-folder each
        for rel, captions in read_folder(own if own.is_dir() else folder, headers, problems).items():
            found.several[rel] = (*captions, *found.sources(rel))
            found.captions[rel] = captions[0]
