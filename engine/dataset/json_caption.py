"""The caption in a WebDataset sample's .json member, as img2dataset and others write it."""

from __future__ import annotations

import json

from engine.dataset.metadata import clean

FIELDS = ("caption", "text")


def caption_of(raw: bytes) -> str | None:
    """The first of FIELDS that is a text, on one line; none where the member is no object or has neither."""
    try:
        row = json.loads(raw)
    except (ValueError, RecursionError):
        return None
    if not isinstance(row, dict):
        return None
    return next((clean(row[name]) for name in FIELDS if isinstance(row.get(name), str)), None)
