"""Adding a method to this process by hand; installed packages add theirs by an entry point."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from engine.errors import UserError
from engine.plan.methods import METHODS, MethodSpec
from engine.plan.methods.plugins import obstacle
from engine.plan.schema import Plan
from engine.plan.tables import declare_tables


def register(spec: MethodSpec) -> None:
    """Add a method to those that plans of this process may name; UserError for a declaration that cannot be."""
    if why := obstacle(spec, METHODS):
        raise UserError("the method cannot be added", why, "correct its declaration")
    METHODS[spec.name] = spec
    declare_tables(Plan)


@contextmanager
def registered(spec: MethodSpec) -> Iterator[None]:
    """Have the method for the time of a `with` block alone."""
    register(spec)
    try:
        yield
    finally:
        del METHODS[spec.name]
        declare_tables(Plan)
