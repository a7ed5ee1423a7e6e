"""The configs of a diffusers folder's parts: whether what is planned from them can be read at all."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from engine.errors import UserError
from engine.models.family_spec import FamilySpec
from engine.models.folder_weights import expected_names, json_object
from engine.models.layers import text_layers
from engine.tensorfiles.header import MAX_TENSORS

_ODD = (LookupError, TypeError, ValueError, ArithmeticError, AttributeError)
"""What comes of a value of another kind, of one that is missing, and of a list that is too short."""


def check_configs(path: Path, spec: FamilySpec) -> None:
    """UserError that names the config of a denoiser or text encoder whose layers cannot be told from it."""
    readers: dict[str, Callable[[Mapping[str, Any]], object]] = {spec.denoiser: spec.layers}
    readers |= dict.fromkeys(spec.text_parts, text_layers)
    for part, layers in readers.items():
        file = path / part / "config.json"
        config = json_object(file)
        try:
            many = sum(1 for _ in islice(expected_names(spec, part, config) or (), MAX_TENSORS + 1))
            if many <= MAX_TENSORS:
                layers(config)
                continue
            why = f"it describes more than {MAX_TENSORS:,} tensors, which no model has"
        except _ODD as error:
            # A KeyError says no more than the key.
            why = f"{error} is missing" if isinstance(error, KeyError) else str(error)[:200]
        raise UserError(f"{file} describes no {part}", why, "download the file again")
