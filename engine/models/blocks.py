"""A denoiser's blocks by name: which carry style or content, and numbers a block as users of other tools write them."""

from __future__ import annotations

from collections.abc import Sequence

from engine.errors import UserError
from engine.models.family_spec import BASE
from engine.models.specs import FAMILIES


def carrying(family: str, what: str) -> tuple[str, ...]:
    """The blocks of a family that carry `what`: style, content or both."""
    blocks = FAMILIES[family].blocks
    if what == "both":
        return tuple(name for name in blocks.order if any(name in each for each in blocks.carries.values()))
    return blocks.carries[what]


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
        known = FAMILIES[family].blocks.order
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
    spec, name = FAMILIES[family], text.strip().upper()
    wanted = [str(count) for count in spec.blocks.numbered]
    if name in spec.blocks.presets:
        values = spec.blocks.presets[name]
        return dict(zip(spec.blocks.numbered[len(values)], map(float, values), strict=True))
    if owners := [other.short for other in FAMILIES.values() if name in other.blocks.presets]:
        raise UserError(
            f"{text.strip()} is a preset for {' and '.join(owners)}",
            fix=f"give {spec.short} {' or '.join(wanted)} numbers, or names",
        )
    parts = [part for part in text.split(",") if part.strip()]
    names = spec.blocks.numbered.get(len(parts))
    if names is None:
        shortest = next(iter(spec.blocks.numbered.values()), ())
        raise UserError(
            f"{len(parts)} block weights",
            f"this family takes {' numbers (LoRA) or '.join(wanted)} (with convolutions)"
            if wanted
            else "this family has no numbering of its blocks",
            f"the order is {', '.join(shortest)}" if wanted else 'write names, such as "OUT03=0.5"',
        )
    return {name: _number(part, text) for name, part in zip(names, parts, strict=True)}


def shown(values: dict[str, float]) -> str:
    """The numbers with their names: "OUT03 1, OUT04 0.5"."""
    return ", ".join(f"{name} {value:g}" for name, value in values.items())


def _known(name: str, family: str) -> str:
    blocks = FAMILIES[family].blocks
    plain = blocks.aliases.get(name, name)
    if plain not in blocks.order:
        raise UserError(f"there is no block {name!r}", fix=f"blocks are {', '.join(blocks.runs())}")
    return plain


def _number(text: str, entry: str) -> float:
    try:
        value = float(text)
    except ValueError as error:
        raise UserError(f"{entry!r}: {text.strip()!r} is no number", fix='write "OUT03=0.5"') from error
    if not -100 <= value <= 100:
        raise UserError(f"{entry!r}: {value:g} is out of range", fix="weights and rates are -100 to 100")
    return value
