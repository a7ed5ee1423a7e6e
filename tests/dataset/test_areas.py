"""Several areas: each picture has a size of each that it fills, and at least one; sides stay between their limits."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from engine.dataset import buckets
from engine.dataset.areas import FILLS, Areas, at_each_size
from engine.dataset.scan import scan

SIDES = st.lists(st.sampled_from([256, 384, 512, 768, 1024]), min_size=1, max_size=4, unique=True)
LENGTH = st.integers(40, 4000)


@given(sides=SIDES, width=LENGTH, height=LENGTH)
def test_a_picture_has_a_size_of_each_area_that_it_fills(sides: list[int], width: int, height: int) -> None:
    areas = Areas(tuple(sides))
    found = areas.sizes_of(width, height)
    assert found and len(set(found)) == len(found)
    each = {side: buckets.assign(width, height, side) for side in sides}
    if len(sides) == 1:
        assert found == (each[sides[0]],)
        return
    filled = [size for size in each.values() if buckets.upscale(width, height, size) <= FILLS]
    assert found == (tuple(filled) if filled else (each[min(sides)],))


@given(
    side=st.sampled_from([256, 512, 768]),
    low=st.sampled_from([0, 128, 192, 256]),
    high=st.sampled_from([0, 768, 1000, 2048]),
    width=LENGTH,
    height=LENGTH,
)
def test_sides_lie_between_their_limits(side: int, low: int, high: int, width: int, height: int) -> None:
    (size,) = Areas((side,), limits=(low, high)).sizes_of(width, height)
    assert min(size) >= (low or side // 2) and max(size) <= (high or 2 * side)
    assert size[0] * size[1] <= side * side
    assert Areas((side,), limits=(0, 0)).sizes_of(width, height) == (buckets.assign(width, height, side),)


def test_squares_have_the_side_of_each_area() -> None:
    assert Areas((512, 768), bucket=False).sizes_of(2000, 900) == ((512, 512), (768, 768))
    assert Areas((512, 768), bucket=False).sizes_of(600, 600) == ((512, 512),)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, size in {"large": (200, 200), "small": (64, 64), "tiny": (40, 40), "wide": (256, 128)}.items():
        Image.new("RGB", size).save(tmp_path / f"{name}.png")
    return tmp_path


def test_a_scan_counts_the_sizes_and_drops_no_picture(folder: Path) -> None:
    report = scan(folder, resolution=64, more=[128])
    sizes = {item.rel: item.sizes for item in report.items}
    assert sizes["large.png"] == ((64, 64), (128, 128))
    assert sizes["small.png"] == sizes["tiny.png"] == ((64, 64),)
    assert len(sizes["wide.png"]) == 2 and sizes["wide.png"][0] == scan(folder, resolution=64).items[3].size
    assert sum(report.buckets.values()) == 6 and report.counts.images == 4
    assert report.buckets == Counter(size for item in report.items for size in item.sizes)
    assert "6 in all, 2 pictures have several" in report.text(200)
    shown = at_each_size(report.items)
    assert shown[:4] == report.items and [item.rel for item in shown[4:]] == ["large.png", "wide.png"]
    assert [item.size for item in shown[4:]] == [
        item.more_sizes[0] for item in report.items if item.more_sizes
    ]
    assert all(item.again and not item.more_sizes for item in shown[4:])


def test_a_small_picture_goes_to_the_area_that_it_fills(folder: Path) -> None:
    report = scan(folder, resolution=128, more=[64])
    assert {item.rel: item.size for item in report.items}["small.png"] == (64, 64)
    assert not [
        finding for finding in report.problems if (finding.code, finding.file) == ("too-small", "small.png")
    ]
    alone = scan(folder, resolution=128)
    assert [finding.file for finding in alone.problems if finding.code == "too-small"] == [
        "small.png",
        "tiny.png",
    ]


def test_without_more_a_scan_is_as_it_was(folder: Path) -> None:
    report = scan(folder, resolution=64)
    assert (
        all(item.sizes == (item.size,) for item in report.items)
        and at_each_size(report.items) == report.items
    )
    assert "sizes at resolution 64" in report.text(200)
