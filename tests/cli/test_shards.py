"""Shards from the command line: looked at, planned for, checked and forecast like any other pictures."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.conftest import Cli
from tests.support.pictures import write_pictures
from tests.support.shards import pack


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    return pack(write_pictures(tmp_path / "pictures", count=4), tmp_path / "shards", (2, 2))


def test_the_doctor_reads_shards(cli: Cli, shards: Path) -> None:
    plain = cli("data", str(shards), "--resolution", "64")
    assert plain.code == 0 and "4 pictures, 4 with a caption" in " ".join(plain.out.split())
    found = cli("data", str(shards / "{00000..00001}.tar"), "--resolution", "64", "--json")
    assert found.code == 0
    items = found.json["items"]
    assert [item["file"] for item in items][:2] == ["00000.tar/00.png", "00000.tar/01.png"]
    assert items[0]["caption"] == "a picture, number 0, style 0"
    (shards / "grid.png").write_bytes((shards.parent / "pictures" / "00.png").read_bytes())
    mixed = cli("data", str(shards))
    assert mixed.code == 2 and "both pictures" in " ".join(mixed.out.split())


def test_a_plan_from_shards_has_no_errors_and_a_forecast(cli: Cli, shards: Path) -> None:
    words = ("--method", "scratch", "--base", "builtin:tiny", "--data", str(shards), "-o", "plan.toml")
    assert cli("new", *words).code == 0
    checked = cli("check", "plan.toml", "--json")
    assert not [problem for problem in checked.json["problems"] if problem["level"] == "error"]
    forecast = cli("estimate", "plan.toml")
    assert forecast.code == 0 and "of 4 pictures" in forecast.out and "cached latents" in forecast.out
