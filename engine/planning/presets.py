"""Starting values by method, family and card, read from presets.toml, each with its source."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from engine.errors import UserError

FILE = Path(__file__).with_name("presets.toml")
# Cards report a little less than they are sold as: a 12 GB card has 11.6 to 12.0 GiB.
SOLD_AS = 0.9


@dataclass(frozen=True)
class Preset:
    """`values` by dotted key. `sources` says for each key where its value comes from; `why` names the card."""

    values: dict[str, object]
    source: str
    why: str
    sources: dict[str, str] = field(default_factory=dict)


@lru_cache(maxsize=1)
def recipes() -> tuple[dict[str, Any], ...]:
    """Every recipe of the file, as read."""
    return tuple(tomllib.loads(FILE.read_text(encoding="utf-8"))["recipe"])


def preset(method: str, family: str, tiny: bool = False, vram_gb: float | None = None) -> Preset:
    """The recipe of that method and family with the values for the largest card that is not larger than
    `vram_gb` (GiB; none or 0 is a CPU)."""
    for recipe in recipes():
        if (recipe["method"], recipe["family"], recipe.get("tiny", False)) == (method, family, tiny):
            return _with_card(recipe, vram_gb or 0.0)
    raise UserError(f"there is no preset for {method} on {family}", fix="choose another method or base model")


def _with_card(recipe: dict[str, Any], vram_gb: float) -> Preset:
    cards = sorted(recipe["card"], key=lambda card: float(card["vram_gb"]))
    fitting = [card for card in cards if card["vram_gb"] * SOLD_AS <= vram_gb]
    card = fitting[-1]
    if vram_gb > 0 and card["vram_gb"] == 0 and len(cards) > 1:
        card = cards[1]  # a card below the smallest in the table: its values, as no CPU is meant
    size = card["vram_gb"]
    own: dict[str, object] = card.get("values", {})
    sources = dict.fromkeys(recipe["values"], recipe["source"]) | dict.fromkeys(own, card["source"])
    why = f"for cards of {size} GB and more" if size else "for any machine"
    return Preset({**recipe["values"], **own}, f"{recipe['source']}; {card['source']}", why, sources)
