"""The UNet's blocks by name: which carry style or content, and numbers a block as users of other tools write them."""

from __future__ import annotations

from collections.abc import Sequence

from engine.errors import UserError


def _row(kind: str, numbers: Sequence[int]) -> tuple[str, ...]:
    return tuple(f"{kind}{number:02d}" for number in numbers)


_SD_IN, _SD_OUT = _row("IN", range(12)), _row("OUT", range(12))
_XL_IN, _XL_OUT = _row("IN", range(9)), _row("OUT", range(9))
BLOCKS: dict[str, tuple[str, ...]] = {
    "sd1": (*_SD_IN, "MID", *_SD_OUT),
    "sd2": (*_SD_IN, "MID", *_SD_OUT),
    "sdxl": (*_XL_IN, "MID", *_XL_OUT),
}
"""Every block of a family's UNet in the order of its forward pass."""

ATTENDING: dict[str, tuple[str, ...]] = {
    "sd1": (*_row("IN", (1, 2, 4, 5, 7, 8)), "MID", *_SD_OUT[3:]),
    "sd2": (*_row("IN", (1, 2, 4, 5, 7, 8)), "MID", *_SD_OUT[3:]),
    "sdxl": (*_row("IN", (4, 5, 7, 8)), "MID", *_XL_OUT[:6]),
}
"""The blocks that have attention."""

BASE = "BASE"
"""What lies in no block: text encoders, time embedding, first and last convolution."""

LAYOUTS: dict[int, tuple[str, ...]] = {
    12: (BASE, *ATTENDING["sdxl"]),
    17: (BASE, *ATTENDING["sd1"]),
    20: (BASE, *BLOCKS["sdxl"]),
    26: (BASE, *BLOCKS["sd1"]),
}
"""What the numbers of a block weight string stand for, by how many there are: SDXL LoRA, SD LoRA, and both
with convolutions. Source: the block weight extension for AUTOMATIC1111 and kohya's numbering."""

PRESETS: dict[str, tuple[int, ...]] = {
    "ALL": (1,) * 17,
    "INS": (1,) * 4 + (0,) * 13,
    "IND": (1, 0, 0, 0, 1, 1, 1) + (0,) * 10,
    "INALL": (1,) * 7 + (0,) * 10,
    "MIDD": (1, 0, 0, 0) + (1,) * 8 + (0,) * 5,
    "OUTD": (1,) + (0,) * 7 + (1,) * 4 + (0,) * 5,
    "OUTS": (1,) + (0,) * 11 + (1,) * 5,
    "OUTALL": (1,) + (0,) * 7 + (1,) * 9,
}
"""Named weights for SD 1.x and 2.x, 17 numbers each. Source: the same extension."""

# SDXL: B-LoRA (arXiv:2403.14572) found content in up_blocks.0.attentions.0 and style in .1. SD 1.x and 2.x have no
# such clear pair: that the decoder carries style is what OUTALL stands for, and the rest is then content.
_CARRIES: dict[str, dict[str, tuple[str, ...]]] = {
    "sdxl": {"content": ("OUT00",), "style": ("OUT01",)},
    "sd1": {"content": (*ATTENDING["sd1"][:7],), "style": _SD_OUT[3:]},
    "sd2": {"content": (*ATTENDING["sd2"][:7],), "style": _SD_OUT[3:]},
}


def carrying(family: str, what: str) -> tuple[str, ...]:
    """The blocks of a family that carry `what`: style, content or both."""
    table = _CARRIES[family]
    if what == "both":
        return tuple(name for name in BLOCKS[family] if name in {*table["style"], *table["content"]})
    return table[what]


def parse_blocks(names: Sequence[str], family: str) -> tuple[str, ...]:
    """Block names as the family has them; "OUT03-11" is a range and "M00" is MID. UserError names what is unknown."""
    found: list[str] = []
    for name in names:
        first, dash, last = name.strip().upper().partition("-")
        if not dash:
            found.append(_known(first, family))
            continue
        stem = first.rstrip("0123456789")
        last = last if last.startswith(stem) else stem + last
        known = BLOCKS[family]
        start, end = known.index(_known(first, family)), known.index(_known(last, family))
        found += known[start : end + 1]
    return tuple(dict.fromkeys(found))


def parse_values(entries: Sequence[str], family: str) -> dict[str, float]:
    """A number a block from "OUT03=0.5" entries, one string of 12, 17, 20 or 26 numbers, or a preset's name.

    Blocks that are not named are not in the answer. UserError says which entry is wrong and why.
    """
    if len(entries) == 1 and "=" not in entries[0]:
        return _string(entries[0], family)
    found: dict[str, float] = {}
    for entry in entries:
        names, equals, text = entry.partition("=")
        if not equals:
            raise UserError(f"{entry!r} is no block with a number", fix='write "OUT03=0.5"')
        number = _number(text, entry)
        blocks = (BASE,) if names.strip().upper() == BASE else parse_blocks([names], family)
        found |= dict.fromkeys(blocks, number)
    return found


def _string(text: str, family: str) -> dict[str, float]:
    if text.strip().upper() in PRESETS:
        if family == "sdxl":
            raise UserError(
                f"{text.strip()} is a preset for SD 1.x and 2.x", fix="give SDXL 12 or 20 numbers, or names"
            )
        return dict(zip(LAYOUTS[17], map(float, PRESETS[text.strip().upper()]), strict=True))
    parts = [part for part in text.split(",") if part.strip()]
    names = LAYOUTS.get(len(parts))
    wanted = (12, 20) if family == "sdxl" else (17, 26)
    if names is None or len(parts) not in wanted:
        raise UserError(
            f"{len(parts)} block weights",
            f"this family takes {wanted[0]} numbers (LoRA) or {wanted[1]} (with convolutions)",
            f"the order is {', '.join(LAYOUTS[wanted[0]])}",
        )
    return {name: _number(part, text) for name, part in zip(names, parts, strict=True)}


def shown(values: dict[str, float]) -> str:
    """The numbers with their names: "OUT03 1, OUT04 0.5"."""
    return ", ".join(f"{name} {value:g}" for name, value in values.items())


def _known(name: str, family: str) -> str:
    plain = "MID" if name in ("M00", "MID00") else name
    if plain not in BLOCKS[family]:
        first, last = BLOCKS[family][0], BLOCKS[family][-1]
        raise UserError(
            f"there is no block {name!r}",
            fix=f"blocks are {first} to IN{len(_ins(family)) - 1:02d}, MID, OUT00 to {last}",
        )
    return plain


def _ins(family: str) -> list[str]:
    return [name for name in BLOCKS[family] if name.startswith("IN")]


def _number(text: str, entry: str) -> float:
    try:
        value = float(text)
    except ValueError as error:
        raise UserError(f"{entry!r}: {text.strip()!r} is no number", fix='write "OUT03=0.5"') from error
    if not -100 <= value <= 100:
        raise UserError(f"{entry!r}: {value:g} is out of range", fix="weights and rates are -100 to 100")
    return value
