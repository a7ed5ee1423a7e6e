"""No plan field does nothing: each has a reader beyond the code that declares and documents it."""

from __future__ import annotations

import ast
import inspect
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from engine.plan.methods import METHODS, MethodOptions
from engine.plan.schema import plan_fields

ROOT = Path(__file__).parents[2]
DECLARED = ROOT / "engine" / "plan"
# A schedule's file is what the loop calls for the learning rate of a step.
CALLED = DECLARED / "schedules"
FIELDS = sorted({field.key for method in METHODS for field in plan_fields(method)})
EXEMPT = {"version": "the schema's own number: reading a plan checks it"}


def attributes(tree: ast.AST) -> Iterator[tuple[str, str]]:
    """(owner, name) of every attribute that is read: plan.data.path and data.path both give ("data", "path")."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load):
            owner = node.value
            if isinstance(owner, ast.Attribute):
                yield owner.attr.lstrip("_"), node.attr
            elif isinstance(owner, ast.Name):
                yield owner.id, node.attr


@cache
def readers() -> set[tuple[str, str]]:
    """All that is read outside of the plan's declarations, and what the plan's properties read of itself where these
    are read."""
    found: set[tuple[str, str]] = set()
    for file in [*(ROOT / "engine").rglob("*.py"), *(ROOT / "sdtrain_tui").rglob("*.py")]:
        if DECLARED not in file.parents or CALLED in file.parents:
            found |= set(attributes(ast.parse(file.read_text(encoding="utf-8"))))
    names = {name for _, name in found}
    properties = [
        node
        for file in DECLARED.glob("*.py")
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef) and node.decorator_list
    ]
    for _ in properties:  # a property may read another one
        for node in properties:
            if node.name in names:
                found |= set(attributes(node))
                names |= {name for _, name in attributes(node)}
    return found


@pytest.mark.parametrize("key", FIELDS)
def test_every_field_has_a_reader(key: str) -> None:
    section, _, name = key.rpartition(".")
    if section in METHODS:
        # A method's options are read as `options.name`, or by the declaration's own methods as `self.name`.
        bases = [base for base in METHODS[section].options.__mro__ if issubclass(base, MethodOptions)]
        inside = {
            pair
            for base in bases
            for pair in attributes(ast.parse(inspect.getsource(sys.modules[base.__module__])))
        }
        assert {("options", name), ("self", name)} & (readers() | inside)
    elif key not in EXEMPT:
        assert (section or "plan", name) in readers()


def test_a_field_that_nobody_reads_is_noticed() -> None:
    assert ("hardware", "no_such_field") not in readers()
    assert ("hardware", "compile") in readers()
