"""Looking at what the answers name - base, pictures, machine - and which answers ask for another look."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from engine.plan.methods import METHODS
from sdtrain_tui.wizard.paths import expanded

# The first page shows before what is imported in functions here: it costs 0.4 s.
if TYPE_CHECKING:
    from engine.planning.build import Facts

CONDITIONS = {f"{name}.{field}" for name, spec in METHODS.items() for field in spec.options.condition_fields}
OF_CAPTIONS = (
    "folder",
    "several",
    "weights",
    "prefix",
    "suffix",
    "class_word",
    "templates",
    "wildcards",
    "keep_separator",
    "secondary_separator",
    "max_tokens",
)
SETS = "data.sets"
LOOK_KEYS = frozenset(
    (
        *CONDITIONS,
        *(f"captions.{name}" for name in OF_CAPTIONS),
        "method",
        "base.model",
        "base.allow_download",
        "data.path",
        SETS,
        "data.class_path",
        "data.resolution",
        "data.trigger",
        "data.bucket",
        "data.more_resolutions",
        "data.bucket_min",
        "data.bucket_max",
        "data.masks",
        "data.mask_path",
        "data.recursive",
        "validation.path",
        "hardware.device",
    )
)
"""Answers that facts depend on: after a change of one, base and pictures are looked at again."""
FOLDERS = frozenset(("data.path", "data.class_path", *(key for key in CONDITIONS if key.endswith("_path"))))
"""Answers that name a folder whose files are looked at."""
LIVE_ENTRIES = 5000
"""Files below a folder up to which it is scanned while its name is still being typed (0.3 s at most)."""
SHARD_ENTRIES = 1000
"""What a tar shard counts as: they hold 1,000 to 10,000 pictures, and 0.2 ms each is needed to index them."""


@dataclass(frozen=True)
class Inspection:
    """What looking at the base, the pictures and the machine gave.

    `large` names the folders that were left alone for now, because somebody may still be typing their names.
    """

    facts: Facts
    large: frozenset[str] = frozenset()


def look(answers: Mapping[str, object], whole: bool = True) -> Inspection:
    """Look at what the answers name. Slow (reads folders and headers): for a thread.

    Without `whole` a folder with many files is left out: "/home" on the way to "/home/me/cats" is no data set.
    """
    from engine.planning.build import gather

    large = {key for key, folder in _folders(answers) if not whole and not is_small(expanded(folder))}
    facts = gather({key: value for key, value in answers.items() if key not in large})
    # Without its folder the conditions would be looked for in the metadata.
    return Inspection(replace(facts, pairs=None) if CONDITIONS & set(large) else facts, frozenset(large))


def names_folder(key: str) -> bool:
    """Does the field name a folder whose files are looked at?"""
    return key in FOLDERS or key.startswith(f"{SETS}.")


def _folders(answers: Mapping[str, object]) -> Iterator[tuple[str, str]]:
    """The folders that answers name, each with its answer's key."""
    for key, value in answers.items():
        if key in FOLDERS and isinstance(value, str):
            yield key, value
        elif key == SETS and isinstance(value, list):
            for one in value:
                if isinstance(one, dict) and isinstance(one.get("path"), str):
                    yield key, one["path"]


def without(facts: Facts, key: str) -> Facts:
    """What still holds once `key` has another answer: facts about another base or folder are worse than none."""
    facts = replace(facts, problems=tuple(item for item in facts.problems if item.key != key))
    if key in ("data.path", SETS):
        return replace(facts, report=None, pairs=None)
    if key == "data.class_path":
        return replace(facts, prior=None)
    if key == "base.model":
        return replace(facts, base=None)
    return replace(facts, pairs=None) if key == "method" or key in CONDITIONS else facts


def is_small(folder: Path) -> bool:
    """Has the folder at most LIVE_ENTRIES files below it? Gives up after 0.3 s."""
    deadline = time.monotonic() + 0.3
    seen = 0
    for _, _, names in os.walk(folder):
        seen += len(names) + 1 + SHARD_ENTRIES * sum(name.endswith(".tar") for name in names)
        if seen > LIVE_ENTRIES or time.monotonic() > deadline:
            return False
    return True
