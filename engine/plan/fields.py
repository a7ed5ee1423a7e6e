"""How a field of a plan is declared once, and read again by forms, commands, docs and error texts."""

from __future__ import annotations

import types
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field
from pydantic.fields import FieldInfo


class Section(BaseModel):
    """One table of a plan: frozen, and a key that it does not know is an error.

    Strict, so that `steps = true` or `steps = "200"` is a problem and not the number 1 or 200.
    """

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, validate_default=True, allow_inf_nan=False
    )

    ON_RESUME: ClassVar[str] = ""
    """Why every field of the table may be another one when a run goes on, where that is so; see `option`."""

    @property
    def idle(self) -> frozenset[str]:
        """Fields of the table that have no effect as the others stand; a form need not ask for them."""
        return frozenset()


def option(
    default: Any,
    help: str,
    *,
    unit: str = "",
    ge: float | None = None,
    gt: float | None = None,
    le: float | None = None,
    lt: float | None = None,
    advanced: bool = False,
    pattern: str | None = None,
    on_resume: str = "",
) -> Any:
    """Declare one plan field: its default (`...` when it must be given), help, unit and bounds.

    `on_resume` says why the field may be another one when a run goes on; without it, it may not: what was learned
    with the old value would go by the name of the new one.
    """
    bounds: dict[str, Any] = {"ge": ge, "gt": gt, "le": le, "lt": lt, "pattern": pattern}
    given = {name: value for name, value in bounds.items() if value is not None}
    extra: dict[str, Any] = {"unit": unit, "advanced": advanced} | (
        {"on_resume": on_resume} if on_resume else {}
    )
    if isinstance(default, list | tuple | dict):
        copy = default
        return Field(
            default_factory=lambda: type(copy)(copy), description=help, json_schema_extra=extra, **given
        )
    return Field(default, description=help, json_schema_extra=extra, **given)


@dataclass(frozen=True)
class PlanField:
    """One field as forms and docs see it. `kind` is bool, int, float, str, list, table or tables (a list of them)."""

    key: str
    kind: str
    default: object
    required: bool
    help: str
    unit: str
    advanced: bool
    choices: tuple[str, ...]
    minimum: float | None
    maximum: float | None
    exclusive_minimum: bool = False
    exclusive_maximum: bool = False
    optional: bool = False
    on_resume: str = ""

    @property
    def bounds_text(self) -> str:
        """The allowed values in words, or an empty text when any value of the kind will do."""
        if self.choices:
            return "one of " + ", ".join(self.choices)
        low, high = _plain(self.minimum), _plain(self.maximum)
        low = low and f"{'more than' if self.exclusive_minimum else 'at least'} {low}"
        high = high and f"{'less than' if self.exclusive_maximum else 'at most'} {high}"
        return " and ".join(part for part in (low, high) if part)


def _plain(value: float | None) -> str:
    if value is None:
        return ""
    return str(int(value)) if value == int(value) and abs(value) < 1e12 else f"{value:g}"


def section_fields(model: type[BaseModel], prefix: str) -> list[PlanField]:
    """Every field of one table, in the order of its declaration; nested tables are walked."""
    found: list[PlanField] = []
    for name, info in model.model_fields.items():
        key = f"{prefix}.{name}" if prefix else name
        nested = _section_of(info.annotation)
        if nested is not None and _without_none(info.annotation)[0] is nested:
            found.extend(section_fields(nested, key))
        else:
            found.append(_field(key, info, getattr(model, "ON_RESUME", "")))
    return found


def list_sections(model: type[BaseModel], prefix: str = "") -> dict[str, type[BaseModel]]:
    """The model of each field that is a list of tables, by the field's key; nested tables are walked."""
    found: dict[str, type[BaseModel]] = {}
    for name, info in model.model_fields.items():
        key = f"{prefix}.{name}" if prefix else name
        nested = _section_of(info.annotation)
        if nested is None:
            continue
        if _without_none(info.annotation)[0] is nested:
            found |= list_sections(nested, key)
        else:
            found[key] = nested
    return found


def _section_of(annotation: Any) -> type[BaseModel] | None:
    for candidate in (annotation, *get_args(annotation)):
        if isinstance(candidate, type) and issubclass(candidate, BaseModel):
            return candidate
    return None


def _field(key: str, info: FieldInfo, on_resume: str = "") -> PlanField:
    annotation, optional = _without_none(info.annotation)
    extra = info.json_schema_extra if isinstance(info.json_schema_extra, dict) else {}
    low, exclusive = _bound(info, ("ge", "gt"))
    high, below = _bound(info, ("le", "lt"))
    return PlanField(
        key=key,
        kind=_kind(annotation),
        default=None
        if info.is_required()
        else info.get_default(call_default_factory=True, validated_data={}),
        required=info.is_required(),
        help=info.description or "",
        unit=str(extra.get("unit", "")),
        advanced=bool(extra.get("advanced", False)),
        choices=tuple(str(value) for value in get_args(annotation))
        if get_origin(annotation) is Literal
        else (),
        minimum=low,
        maximum=high,
        exclusive_minimum=exclusive,
        exclusive_maximum=below,
        optional=optional,
        on_resume=str(extra.get("on_resume", on_resume)),
    )


def _without_none(annotation: Any) -> tuple[Any, bool]:
    if get_origin(annotation) in (Union, types.UnionType):
        rest = [part for part in get_args(annotation) if part is not type(None)]
        return rest[0], True
    return annotation, False


def _kind(annotation: Any) -> str:
    origin = get_origin(annotation)
    if origin is Literal:
        annotation, origin = type(get_args(annotation)[0]), None
    if origin in (list, tuple):
        return "list" if _section_of(annotation) is None else "tables"
    if origin is dict:
        return "table"
    return {bool: "bool", int: "int", float: "float"}.get(annotation, "str")


def _bound(info: FieldInfo, names: tuple[str, ...]) -> tuple[float | None, bool]:
    for item in info.metadata:
        for name in names:
            value = getattr(item, name, None)
            if value is not None:
                return float(value), name in ("gt", "lt")
    return None, False
