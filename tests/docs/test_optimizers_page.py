"""docs/optimizers.md: a row for each optimiser, with what its declaration says."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.plan.optimizers import OPTIMIZERS
from engine.plan.optimizers.base import OptimizerSpec

PAGE = Path(__file__).resolve().parents[2] / "docs" / "optimizers.md"
MATRIX = (1280, 1280)


def row_of(spec: OptimizerSpec) -> str:
    """All of a row but its source."""
    low, high = spec.rates
    rate = f"{low:.2g}" if low == high else f"{low:.2g} to {high:.2g}"
    state = spec.state_bytes(MATRIX) / (MATRIX[0] * MATRIX[1])
    cells = [
        f"`{spec.name}`",
        spec.help,
        f"{state:.3g}",
        f"{spec.learning_rate:g} alone" if spec.learning_rate is not None else rate,
        "yes" if spec.alone else "no",
    ]
    return f"| {' | '.join(cells)} |"


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_page_says_what_the_row_declares(name: str) -> None:
    lines = PAGE.read_text(encoding="utf-8").splitlines()
    (line,) = [line for line in lines if line.startswith(f"| `{name}` |")]
    assert line.startswith(row_of(OPTIMIZERS[name]))


def test_the_commands_install_what_the_rows_ask_for() -> None:
    text = " ".join(PAGE.read_text(encoding="utf-8").split())
    assert all(f'"{spec.requirement}"' in text for spec in OPTIMIZERS.values() if spec.requirement)
