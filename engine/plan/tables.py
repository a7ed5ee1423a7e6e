"""The part of the plan that the methods' declarations make: a table for each, and their names to choose from."""

from __future__ import annotations

from typing import Any, Literal, cast

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from engine.plan.fields import option
from engine.plan.methods import DEFAULT_METHOD, METHODS
from engine.plan.methods.plugins import RESERVED

METHOD_HELP = "what kind of training"


def declare_tables(plan: type[BaseModel]) -> None:
    """Give the plan's model an optional table for each method, after `data`; again after METHODS changed."""
    names: Any = Literal[tuple(METHODS)]
    fields: dict[str, FieldInfo] = {}
    for name, info in plan.model_fields.items():
        if name in RESERVED:
            fields[name] = info
        if name == "data":
            fields |= {method: _table(method) for method in METHODS}
    fields["method"] = FieldInfo.from_annotated_attribute(names, option(DEFAULT_METHOD, METHOD_HELP))
    plan.model_fields.clear()
    plan.model_fields.update(fields)
    plan.model_rebuild(force=True)


def _table(method: str) -> FieldInfo:
    annotation = cast(Any, METHODS[method].options | None)
    return FieldInfo.from_annotated_attribute(annotation, option(None, f"options of method {method}"))
