"""`--set KEY=VALUE`: change any field of a plan from a command line."""

from __future__ import annotations

import copy
import tomllib
from typing import Any

from engine.errors import UserError
from engine.plan.methods import METHODS
from engine.plan.reading import DEEPEST, line_of_long_key
from engine.plan.schema import plan_fields


def apply_sets(data: dict[str, Any], sets: list[str]) -> dict[str, Any]:
    """A copy of the tables with each KEY=VALUE applied, in order; KEY is dotted."""
    result = copy.deepcopy(data)
    for item in sets:
        key, value = parse_set(item)
        put(result, key, value)
    return result


def parse_set(item: str) -> tuple[str, object]:
    """KEY=VALUE in its two parts, the value read as the field's kind wants it."""
    key, mark, text = item.partition("=")
    if not mark or not key.strip():
        raise UserError(
            f"--set {item}: no KEY=VALUE",
            "a field and its value are needed",
            "for example --set train.steps=200",
        )
    if key.count(".") >= DEEPEST:
        why = f"it has {key.count('.') + 1:,} parts"
        raise UserError("--set: there is no such key", why, "plan keys have two parts: TABLE.KEY")
    return key.strip(), parse_value(text.strip(), _kinds().get(key.strip(), ""))


def put(data: dict[str, Any], key: str, value: object) -> None:
    """Set a dotted key in nested tables, making the tables on the way."""
    *tables, name = key.split(".")
    for table in tables:
        step = data.setdefault(table, {})
        if not isinstance(step, dict):
            raise UserError(f"--set {key}", f"{table} is a value, not a table", "check the key")
        data = step
    data[name] = value


def parse_value(text: str, kind: str = "") -> object:
    """A TOML value where it is one (5, 1e-4, true, ["a"]), and else the text itself.

    For a field of kind str only a quoted text is read as TOML, so that a name may be `007` or `true`;
    for a field of kind list a single value stands for a list of one.
    """
    value = _toml(text)
    if kind == "str" and not isinstance(value, str):
        return text
    if kind == "float" and isinstance(value, str):
        return _number(text)
    if kind == "list" and not isinstance(value, list):
        return [value if isinstance(value, str) else text] if text else []
    return value


def _toml(text: str) -> object:
    if "\n" in text or line_of_long_key(text):
        return text
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except (ValueError, RecursionError):  # ValueError: no TOML, or a number of thousands of digits
        return text


def _number(text: str) -> object:
    # TOML wants 0.5 where people write .5
    try:
        return float(text)
    except ValueError:
        return text


def _kinds() -> dict[str, str]:
    return {field.key: field.kind for method in METHODS for field in plan_fields(method)}
