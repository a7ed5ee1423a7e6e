"""Layouts of several sets as other programs have them, read as they stand; one more is a file and a line here."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from engine.plan.layouts import kohya_config, kohya_folders, onetrainer_concepts, simpletuner_backends
from engine.plan.layouts.base import Layout, placed

__all__ = ["Layout", "placed", "read_layout"]

READERS: tuple[Callable[[Path], Layout | None], ...] = (
    kohya_folders.read,
    kohya_config.read,
    onetrainer_concepts.read,
    simpletuner_backends.read,
)


def read_layout(path: Path) -> Layout | None:
    """The sets that lie at `path`, a folder or a file of another program; none where it is one set, or nothing.

    Reads names, and a file's text; UserError for a file that is such a layout and cannot be used.
    """
    return next((found for read in READERS if (found := read(path)) is not None), None)
