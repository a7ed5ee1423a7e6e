"""What fits which card: every method and family once, and no figure above a card that is said to fit."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.models.specs import FAMILIES
from engine.plan.methods import METHODS
from engine.planning.fit_table import GIB, fits, lines


@pytest.fixture(autouse=True)
def own_home(home: Path) -> Path:
    """What was traced on this machine changes no figure here."""
    return home


def test_every_method_and_family_has_a_row_and_the_published_small_cards_fit() -> None:
    found = list(fits((8,)))
    assert [(fit.method, fit.family) for fit in found] == [(m, f) for m in METHODS for f in FAMILIES]
    assert all(fit.fits == (fit.takes <= 8 * GIB) for fit in found)
    fitting = {(fit.method, fit.family) for fit in found if fit.fits}
    assert {("lora", "sd1"), ("lora", "sd2"), ("lora", "sdxl")} <= fitting
    assert ("full", "sdxl") not in fitting
    text = lines(found)
    assert len(text) == 2 + len(found)
    for fit, line in zip(found, text[1:-1], strict=True):
        assert line.split()[:2] == [fit.method, fit.family]
        assert ("no:" in line) == (not fit.fits)
