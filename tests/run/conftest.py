"""Ends what a failed test of processes would leave running."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.run.engine_fakes import STARTED


@pytest.fixture(autouse=True)
def no_engine_is_left() -> Iterator[None]:
    yield
    while STARTED:
        engine = STARTED.pop()
        engine.kill()  # its worker dies with it
        engine.wait()
