"""Makes the small folders of the cases and reads what a scan says about them."""

from __future__ import annotations

import zlib
from pathlib import Path

from PIL import Image

from engine.dataset.findings import Finding
from engine.dataset.scan import DatasetReport, scan


def picture(path: Path, side: int = 64) -> Path:
    """A plain picture whose colour follows from its name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    colour = zlib.crc32(path.name.encode("utf-8", "surrogateescape"))
    Image.new("RGB", (side, side), (colour & 255, colour >> 8 & 255, colour >> 16 & 255)).save(path, "PNG")
    return path


def pictures(folder: Path, count: int = 2) -> Path:
    """p0.png, p1.png ... in `folder`."""
    for number in range(count):
        picture(folder / f"p{number}.png")
    return folder


def look(folder: Path, trigger: str = "", recursive: bool = True) -> DatasetReport:
    """The scan as the commands make it."""
    return scan(folder, resolution=64, trigger=trigger, recursive=recursive)


def captions(report: DatasetReport) -> dict[str, str]:
    """What is trained on, by picture."""
    return {item.rel: item.caption for item in report.items}


def found(report: DatasetReport, code: str) -> Finding:
    """The one finding of that kind."""
    (finding,) = [finding for finding in report.problems if finding.code == code]
    return finding


def codes(report: DatasetReport) -> set[str]:
    """The kinds of findings."""
    return {finding.code for finding in report.problems}
