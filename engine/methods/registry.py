"""Which class does which method: one line each."""

from __future__ import annotations

from engine.errors import UserError
from engine.methods.base import Method
from engine.methods.lora import Lora
from engine.plan.methods.lora import LoraOptions
from engine.plan.schema import Plan


def make_method(plan: Plan) -> Method:
    """The plan's method, with its own options."""
    options = plan.options
    if isinstance(options, LoraOptions):
        return Lora(options, plan.train.learning_rate, plan.seed)
    raise UserError(f"method {plan.method!r} is not built into this version", fix="choose another method")
