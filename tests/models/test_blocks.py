"""Block names and block weight strings, as kohya's and A1111's users write them."""

from __future__ import annotations

import pytest

from engine.errors import UserError
from engine.models.blocks import carrying, parse_blocks, parse_values, shown
from engine.models.specs import FAMILIES


def test_the_four_numberings_have_their_lengths_and_known_names() -> None:
    found = {count: names for spec in FAMILIES.values() for count, names in spec.blocks.numbered.items()}
    assert set(found) == {12, 17, 20, 26}
    for count, names in found.items():
        family = "sdxl" if count in (12, 20) else "sd1"
        assert len(names) == count
        assert set(names) <= {"BASE", *FAMILIES[family].blocks.order}
    assert found[17][:8] == ("BASE", "IN01", "IN02", "IN04", "IN05", "IN07", "IN08", "MID")
    assert found[12] == (
        "BASE", "IN04", "IN05", "IN07", "IN08", "MID", "OUT00", "OUT01", "OUT02", "OUT03", "OUT04", "OUT05"
    )  # fmt: skip
    assert all(len(values) == 17 for values in FAMILIES["sd1"].blocks.presets.values())


def test_numbers_get_their_names() -> None:
    values = parse_values(["1,0,0,0,0,0,0,0,0.5,1,1,1,1,1,1,1,1"], "sd1")
    assert values["BASE"] == 1
    assert values["MID"] == 0
    assert values["OUT03"] == 0.5
    assert "IN00" not in values
    assert shown({"OUT03": 0.5, "OUT04": 1.0}) == "OUT03 0.5, OUT04 1"
    assert parse_values(["OUTALL"], "sd2")["OUT11"] == 1
    assert parse_values(["outs"], "sd1")["OUT06"] == 0


def test_named_entries_and_ranges() -> None:
    assert parse_values(["OUT03=0.5", "MID=0"], "sd1") == {"OUT03": 0.5, "MID": 0.0}
    assert parse_values(["OUT03-05=2", "BASE=0"], "sd1") == {"OUT03": 2, "OUT04": 2, "OUT05": 2, "BASE": 0}
    assert parse_blocks(["in08", "M00", "OUT00-01"], "sdxl") == ("IN08", "MID", "OUT00", "OUT01")


def test_what_carries_style_and_content() -> None:
    assert carrying("sdxl", "style") == ("OUT01",)
    assert carrying("sdxl", "content") == ("OUT00",)
    assert carrying("sdxl", "both") == ("OUT00", "OUT01")
    assert carrying("sd1", "style")[0] == "OUT03"


@pytest.mark.parametrize(
    ("entries", "family"),
    [
        (["OUT09=1"], "sdxl"),
        (["OUT12=1"], "sd1"),
        (["1,0,1"], "sd1"),
        ([",".join("1" * 17)], "sdxl"),
        (["OUTALL"], "sdxl"),
        (["OUT03=much"], "sd1"),
        (["OUT03", "OUT04"], "sd1"),
        (["OUT03=nan"], "sd1"),
    ],
)
def test_what_is_wrong_is_said(entries: list[str], family: str) -> None:
    with pytest.raises(UserError) as caught:
        parse_values(entries, family)
    assert caught.value.fix
