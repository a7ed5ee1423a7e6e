"""Which optional packages the tests of plans assume: all of them, whatever is installed here."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec

import pytest

LOOKING = (
    "engine.planning.ladder",
    "engine.planning.rules.hardware",
    "engine.planning.rules.optimizers",
)
"""The modules of planning that look for packages."""

Assume = Callable[[bool], None]


@pytest.fixture(autouse=True)
def assume_extras(monkeypatch: pytest.MonkeyPatch) -> Assume:
    """The extras `bnb` and `optimizers` are there; call it with False where a test assumes that none is."""

    def assume(there: bool) -> None:
        for module in LOOKING:
            monkeypatch.setattr(
                f"{module}.find_spec", lambda name: (find_spec(name) or name) if there else None
            )

    assume(True)
    return assume
