"""Every fault of the list has its test and two neighbours, and they are there."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tests.cases.reports import REPORTS, Report

TESTS = Path(__file__).parents[1]


@pytest.mark.parametrize("report", REPORTS, ids=lambda report: report.happened)
def test_a_fault_has_its_test_and_two_neighbours(report: Report) -> None:
    named = (report.shown, *report.neighbours)
    assert len(set(named)) == len(named) >= 3
    for name in named:
        file, _, function = name.partition("::")
        tree = ast.parse((TESTS / file).read_text(encoding="utf-8"))
        assert function in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}, name
