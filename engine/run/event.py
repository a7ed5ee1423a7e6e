"""What an event is: a frozen dataclass whose fields are written in their order and read whatever they hold."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, fields
from typing import (
    Any,
    ClassVar,
    Final,
    NamedTuple,
    Self,
    TypeVar,
    dataclass_transform,
    get_args,
    get_origin,
    get_type_hints,
)

Record = Mapping[str, Any]
"""A line as it was read: any object at all."""
_NOT_FINITE: Final = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}


class About(NamedTuple):
    """What a field says and its unit; stands in the field's `Annotated` type."""

    text: str
    unit: str = ""


class Declared(NamedTuple):
    """A field as the documentation shows it; `optional` fields are left out of a line that has nothing to say."""

    name: str
    type: str
    optional: bool
    about: About


def as_float(value: object) -> float:
    """A number of an event as a float: the texts "nan", "inf" and "-inf" count, anything else is NaN."""
    if type(value) is float:
        return value
    if isinstance(value, (int, float)):
        try:
            return float(value)
        except OverflowError:
            return math.inf if value > 0 else -math.inf
    return _NOT_FINITE.get(value, math.nan) if isinstance(value, str) else math.nan


def as_int(value: object) -> int | None:
    """A whole number that fits 53 bits, else None."""
    return value if type(value) is int and abs(value) < 1 << 53 else None


def _numbers(value: object) -> dict[str, float]:
    return {str(name): as_float(each) for name, each in value.items()} if isinstance(value, dict) else {}


T = TypeVar("T")


@dataclass_transform(frozen_default=True)
def line(cls: type[T]) -> type[T]:
    """Make a frozen dataclass of a kind of line.

    Its comparison and its repr are those of `Fields`: to write them anew for each kind took 6 ms of every command.
    """
    return dataclass(frozen=True, eq=False, repr=False, match_args=False)(cls)


@line
class Fields:
    """Named values of one line of JSON, declared once for who writes and who reads them.

    A field is `name: Annotated[type, About(...)]` with a type of str, int, float, bool or dict (numbers by name), or
    `| None` where a reader must tell a missing value from an empty one. A field that holds its default is not written.
    """

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and vars(other) == vars(self)

    def __hash__(self) -> int:
        return hash((type(self), *map(str, vars(self).values())))

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in vars(self).items())})"
        )

    def written(self) -> dict[str, Any]:
        """The values that a line holds, in the order of their declaration."""
        told = ((field, getattr(self, field.name)) for field in fields(self))
        return {field.name: value for field, value in told if value != field.default}

    @classmethod
    def read(cls, record: Record) -> Self:
        """The values of a line that may come from anywhere.

        A text or whole number that is missing or of a wrong type is the field's default, else None where its
        type allows that, else "" or 0. A float that is missing is its default, None or NaN, one of a wrong type
        NaN. A bool is true for `true` alone. Numbers by name are read as floats are, each, and none where there is no
        object. Fields that are not declared are passed over.
        """
        readers = _READERS.get(cls)
        if readers is None:
            readers = _READERS[cls] = _readers(cls)
        return cls(**{name: read(record, name) for name, read in readers})

    @classmethod
    def declared(cls) -> list[Declared]:
        """The fields with what is known of each, in the order in which they are written."""
        hints = get_type_hints(cls, include_extras=True)
        found = []
        for field in fields(cls):
            about = next(item for item in hints[field.name].__metadata__ if isinstance(item, About))
            kind = _kind(hints[field.name].__origin__)[0]
            found.append(Declared(field.name, kind.__name__, field.default is not MISSING, about))
        return found


@line
class Event(Fields):
    """One thing that happened in a run; `kind` is its name in the file."""

    kind: ClassVar[str]


Reader = Callable[[Record, str], Any]
# Made when a kind is first read: types that are still texts take 0.3 ms a kind to resolve.
_READERS: dict[type[Fields], tuple[tuple[str, Reader], ...]] = {}


def _readers(cls: type[Fields]) -> tuple[tuple[str, Reader], ...]:
    hints = get_type_hints(cls)
    return tuple((field.name, _reader(*_kind(hints[field.name]), field.default)) for field in fields(cls))


def _kind(hint: Any) -> tuple[type, bool]:
    """The type of a field and whether None is allowed."""
    if get_origin(hint) is dict:
        return dict, False
    parts = get_args(hint)
    return (next(part for part in parts if part is not type(None)), True) if parts else (hint, False)


def _reader(kind: type, nullable: bool, default: object) -> Reader:
    empty = default
    if default is MISSING:
        empty = None if nullable else math.nan if kind is float else kind()
    if kind is float:
        return lambda record, name: as_float(record[name]) if name in record else empty
    if kind is dict:
        return lambda record, name: _numbers(record.get(name))
    if kind is bool:
        return lambda record, name: record.get(name) is True
    if kind is int:
        return lambda record, name: empty if (value := as_int(record.get(name))) is None else value
    return lambda record, name: value if isinstance(value := record.get(name), str) else empty
