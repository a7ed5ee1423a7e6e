"""The captions in a .json of a picture's name, as img2dataset, ai-toolkit and others write it."""

from __future__ import annotations

import json
import math

from engine.dataset.metadata import clean_lines

FIELDS = ("caption", "text")
SEVERAL = "captions"

Weighed = tuple[tuple[str, float], ...]


def json_captions(raw: bytes) -> tuple[str, Weighed] | None:
    """The first of FIELDS that is a text, in clean lines, and the list SEVERAL, of texts or of {"text", "weight"}.

    Where there is none of FIELDS the list's first is the text. None where there is no object, or no caption in it.
    """
    try:
        row = json.loads(raw)
    except (ValueError, RecursionError):
        return None
    if not isinstance(row, dict):
        return None
    text = next((clean_lines(row[name]) for name in FIELDS if isinstance(row.get(name), str)), None)
    listed = row.get(SEVERAL)
    several = tuple(found for one in listed if (found := _weighed(one))) if isinstance(listed, list) else ()
    if text is None:
        text = several[0][0] if several else None
    return None if text is None else (text, several)


def caption_of(raw: bytes) -> str | None:
    """The captions as clean lines, for a shard's member."""
    found = json_captions(raw)
    return None if found is None else "\n".join(text for text, _ in found[1]) or found[0]


def _weighed(one: object) -> tuple[str, float] | None:
    text, weight = one, 1.0
    if isinstance(one, dict):
        text = next((one[name] for name in FIELDS if isinstance(one.get(name), str)), None)
        given = one.get("weight", 1.0)
        weight = float(given) if isinstance(given, int | float) and not isinstance(given, bool) else 1.0
    if not isinstance(text, str) or not math.isfinite(weight) or weight < 0:
        return None
    line = clean_lines(text).replace("\n", " ")
    return (line, weight) if line else None
