"""Which class does which method: the one that its declaration names."""

from __future__ import annotations

from importlib import import_module

from engine.errors import UserError
from engine.methods.base import Method
from engine.plan.methods import METHODS
from engine.plan.schema import Plan


def make_method(plan: Plan) -> Method:
    """The plan's method, with its own options; UserError where its behaviour cannot be imported."""
    spec = METHODS[plan.method]
    module, _, name = spec.behaviour.partition(":")
    try:
        found: type[Method] = getattr(import_module(module), name)
    except (ImportError, AttributeError) as error:
        fix = "install the package that adds it again, or choose another method"
        raise UserError(f"method {plan.method} cannot be used", str(error), fix) from error
    return found.from_plan(plan)
