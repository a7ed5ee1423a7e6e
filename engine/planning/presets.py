"""Starting values by method, family and card, each with its source: one file a family in `presets/`.

`like` names a family, whose recipe of the same method is meant, or a method, whose recipe for the same family (its
table's fields under this method's name): what follows replaces its source, single values and whole cards. `rates`
are the lowest and the highest learning rate of published recipes for the method, with their sources. A figure
that nobody published or measured is called a choice; sizes for cards follow the forecast of `engine/cost/estimate.py`.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from engine.errors import UserError
from engine.plan.methods import METHODS, MethodSpec
from engine.plan.schema import plan_fields

FOLDER = Path(__file__).with_name("presets")
# Beside a choice of ours that names no published range: a tenth and ten times of it.
AROUND = 10
# Cards report a little less than they are sold as: a 12 GB card has 11.6 to 12.0 GiB.
SOLD_AS = 0.9


@dataclass(frozen=True)
class Preset:
    """`values` by dotted key. `sources` says for each key where its value comes from; `why` names the card."""

    values: dict[str, object]
    source: str
    why: str
    sources: dict[str, str] = field(default_factory=dict)
    lowest_rate: float = 0.0
    highest_rate: float = float("inf")
    rates_source: str = ""
    """The lowest and the highest learning rate of recipes, and whose they are."""

    @property
    def samples(self) -> int:
        """How many samples the recipe's own length comes to; 0 where it leaves the length to the pictures."""
        steps = self.values.get("train.steps")
        size, pieces = (
            self.values.get(f"train.{name}", 1) for name in ("batch_size", "gradient_accumulation")
        )
        whole = isinstance(steps, int) and isinstance(size, int) and isinstance(pieces, int)
        return steps * size * pieces if whole else 0  # type: ignore[operator]


Recipe = dict[str, Any]
Key = tuple[str, str, bool]
"""Method, family, and whether the recipe is for a tiny model."""


def recipes() -> tuple[Recipe, ...]:
    """Every recipe, whole: those of the files, then those of methods that bring theirs by their declaration."""
    written = _written()
    there = {recipe["method"] for recipe in written}
    brought = [spec for name, spec in METHODS.items() if name not in there and spec.like]
    pairs = ((spec, recipe) for spec in brought for recipe in written if recipe["method"] == spec.like)
    return (*written, *(_for_method(spec, recipe) for spec, recipe in pairs))


@lru_cache(maxsize=1)
def _written() -> tuple[Recipe, ...]:
    """The recipes of the files, each with what it takes from the one that it is like."""
    stated: dict[Key, Recipe] = {}
    for file in sorted(FOLDER.glob("*.toml")):
        for recipe in tomllib.loads(file.read_text(encoding="utf-8"))["recipe"]:
            stated[recipe["method"], file.stem, recipe.get("tiny", False)] = {**recipe, "family": file.stem}
    methods = list(METHODS)
    return tuple(_whole(stated, key) for key in sorted(stated, key=lambda key: methods.index(key[0])))


def _whole(stated: dict[Key, Recipe], key: Key) -> Recipe:
    method, family, tiny = key
    own = dict(stated[key])
    like = own.pop("like", "")
    if not like:
        return own
    of = (method, like, tiny) if (method, like, tiny) in stated else (like, family, tiny)
    return _merged(_whole(stated, of), own)


def _merged(recipe: Recipe, changes: Recipe) -> Recipe:
    """A recipe with the changes of one that is like it: its source, single values, whole cards."""
    before, after = recipe["method"], changes["method"]
    cards = {card["vram_gb"]: card for card in recipe["card"]}
    cards = {
        size: {**card, "values": _renamed(card.get("values", {}), before, after)}
        for size, card in cards.items()
    }
    cards |= {card["vram_gb"]: card for card in changes.get("card", [])}
    values = _renamed(recipe["values"], before, after) | changes.get("values", {})
    return {**recipe, **changes, "values": values, "card": list(cards.values())}


def _renamed(values: dict[str, object], before: str, after: str) -> dict[str, object]:
    """The values with one method's table under another's name."""
    table = f"{before}."
    return {
        f"{after}.{key.removeprefix(table)}" if key.startswith(table) else key: value
        for key, value in values.items()
    }


def _for_method(spec: MethodSpec, recipe: Recipe) -> Recipe:
    """Another method's recipe for one that is like it, with its own values, without fields that it has not."""
    known = {field.key for field in plan_fields(spec.name)}
    own = f"{', '.join(spec.preset)}: {spec.title}'s own; " if spec.preset else ""
    changes = {"method": spec.name, "source": own + recipe["source"], "values": dict(spec.preset)}
    if "train.learning_rate" in spec.preset:
        changes["rates"] = {}
    merged = _merged(recipe, changes)
    for table in (merged, *merged["card"]):
        table["values"] = {key: value for key, value in table["values"].items() if key in known}
    return merged


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
    values = {**recipe["values"], **own}
    source = f"{recipe['source']}; {card['source']}"
    return Preset(values, source, why, sources, *_rates(recipe, values))


def _rates(recipe: Recipe, values: dict[str, object]) -> tuple[float, float, str]:
    rates = recipe.get("rates")
    if rates:
        return float(rates["low"]), float(rates["high"]), str(rates["source"])
    rate = values["train.learning_rate"]
    assert isinstance(rate, float)
    return rate / AROUND, rate * AROUND, recipe["source"]
