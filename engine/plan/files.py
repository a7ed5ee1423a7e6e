"""Plans as TOML: read with every problem at once, written in one canonical form, hashed."""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import tomli_w
from pydantic import ValidationError

from engine.errors import UserError
from engine.files import is_path, text_obstacle, write_atomic, write_new
from engine.plan.fields import list_sections
from engine.plan.layouts import placed, read_layout
from engine.plan.methods import DEFAULT_METHOD, METHODS
from engine.plan.problems import PlanErrors, Problem, from_validation, shown
from engine.plan.reading import parse, read_text
from engine.plan.schema import SCHEMA_VERSION, Plan, plan_fields

# What TOML makes of a path such as "C:\new\test".
_ESCAPED = "\b\t\n\f\r\x1b"


def from_dict(data: dict[str, Any], where: str = "the plan", *, stored: bool = False) -> Plan:
    """A plan from nested tables; raises PlanErrors with all problems.

    A table of a method that is not the plan's own is one of them; `stored` reads a run's own plan, which keeps it.
    """
    data = {key: value for key, value in data.items() if value is not None}  # as Python code may give it
    version = data.get("version", SCHEMA_VERSION)
    if type(version) is not int or version != SCHEMA_VERSION:
        newer = type(version) is int and version > SCHEMA_VERSION
        why, fix = (
            f"this program reads {SCHEMA_VERSION}",
            "upgrade sdtrain-tui" if newer else "set version = 1",
        )
        raise PlanErrors([Problem("version", f"{shown(version)} is not known here", why, fix)], where)
    named = data.get("method", DEFAULT_METHOD)
    method = named if isinstance(named, str) and named in METHODS else DEFAULT_METHOD
    problems = list(_unfit(data))
    if not stored and method == named:
        others = other_tables(data, method)
        problems += others
        data = {key: value for key, value in data.items() if key == method or key not in METHODS}
    try:
        plan = Plan.model_validate(data)
    except ValidationError as error:
        told = {problem.key for problem in problems}
        known = [*(field.key for field in plan_fields(method)), *_of_lists(data)]
        found = from_validation(error, known, method)
        raise PlanErrors([*problems, *(item for item in found if item.key not in told)], where) from None
    if problems:
        raise PlanErrors(problems, where)
    return plan


def _of_lists(data: Mapping[str, Any]) -> Iterator[str]:
    """The keys of the tables that stand in lists, numbered as in the plan."""
    for key, model in list_sections(Plan).items():
        table, _, name = key.partition(".")
        given = data[table].get(name) if isinstance(data.get(table), dict) else None
        for number in range(len(given) if isinstance(given, list) else 0):
            yield from (f"{key}.{number}.{field}" for field in model.model_fields)


def _unfit(table: dict[str, Any], prefix: str = "") -> Iterator[Problem]:
    """Texts and numbers that no field takes and that no file can hold."""
    for name, value in table.items():
        key = f"{prefix}{name}"
        if isinstance(value, dict):
            yield from _unfit(value, f"{key}.")
        for number, item in enumerate(value if isinstance(value, list) else (value,)):
            if isinstance(item, dict) and isinstance(value, list):
                yield from _unfit(item, f"{key}.{number}.")
            if isinstance(item, str) and (why := text_obstacle(item)):
                yield Problem(key, f"{shown(item)} cannot be used", why, f"change {key}")
                break
            if isinstance(item, int) and not -(2**63) <= item < 2**63:
                yield Problem(key, "the number is too large", "a number has 64 bits", f"change {key}")
                break


def other_tables(data: Mapping[str, Any], method: str) -> list[Problem]:
    """One problem for each key of a table that belongs to another method than the plan's."""
    problems: list[Problem] = []
    own = METHODS[method].options.model_fields
    for other in METHODS:
        if other == method or data.get(other) is None:
            continue
        what, why = "is not read", f"the plan's method is {method}, which reads the table [{method}]"
        leave = f'leave it out, or set method = "{other}"'
        table = data[other] if isinstance(data[other], Mapping) else {}
        for name in table:
            fix = f"did you mean {method}.{name}?" if name in own else leave
            problems.append(Problem(f"{other}.{name}", what, why, fix))
        if not table:
            problems.append(Problem(other, what, why, leave))
    return problems


def loads(text: str, where: str = "the plan") -> Plan:
    """A plan from TOML text."""
    return from_dict(parse(text, where), where)


def load_plan(source: Path | str | Mapping[str, Any], sets: list[str] | None = None) -> Plan:
    """A plan from a file, or from nested tables, `sets` applied on top.

    Relative paths are taken from the file's folder; those of tables from the current one.
    """
    from engine.plan.overrides import apply_sets

    if isinstance(source, Mapping):
        return with_sets(resolve(from_dict(apply_sets(dict(source), sets or [])), Path.cwd()))
    path = Path(source)
    data = apply_sets(parse(read_text(path), str(path)), sets or [])
    return with_sets(resolve(from_dict(data, str(path)), path.resolve().parent))


def with_sets(plan: Plan) -> Plan:
    """The same plan with its sets written out, where data.path is another program's layout of several."""
    found = read_layout(Path(plan.data.path)) if plan.data.path and not plan.data.sets else None
    if found is None:
        return plan
    data = plan.data.model_copy(update={"sets": found.placed()})
    return plan.model_copy(update={"data": data})


def load_stored(path: Path) -> tuple[Plan, list[Problem]]:
    """A run's own plan, and what of it is not read; unlike `load_plan` that is no error, so an old run goes on."""
    data = parse(read_text(path), str(path))
    plan = resolve(from_dict(data, str(path), stored=True), path.resolve().parent)
    return plan, other_tables(data, plan.method)


def save_plan(path: Path, plan: Plan, *, replace: bool = False) -> None:
    """Write a plan's file whole or not at all, over another one only with `replace`.

    Raises FileExistsError and other OSErrors, and UserError for a name that cannot be a plan's.
    """
    if why := text_obstacle(str(path)):
        raise UserError(f"{path} cannot be a plan's file", why, "give another name")
    target = path.resolve() if replace else path
    if replace and target.exists() and not target.is_file():
        what = f"{path} is no plain file"
        raise UserError(what, "a plan is written beside it and renamed", "give another name; -o - is stdout")
    (write_atomic if replace else write_new)(target, dumps(plan))


def path_keys(method: str) -> tuple[str, ...]:
    """The fields of a method's plan that name a file or folder; base.model may also be another name."""
    own = METHODS[method].options.path_fields if method in METHODS else ()
    return (
        "base.model",
        "base.tokenizer",
        "base.vae",
        "data.path",
        "data.class_path",
        "data.mask_path",
        "captions.folder",
        "validation.path",
        "samples.clip",
        *(f"{method}.{name}" for name in own),
    )


def unusable(key: str, value: object, folder: Path | None = None) -> Problem | None:
    """Why a path can name nothing on this machine, read relative to `folder` (the working folder where it is none)."""
    if not isinstance(value, str):
        return None
    if why := text_obstacle(value):
        return Problem(key, f"{shown(value)} cannot be used", why, "give another path")
    try:
        place = (folder or Path()) / Path(value).expanduser()
    except RuntimeError:
        user = shown(value.split("/")[0])
        return Problem(key, f"{user} is no user's home here", "~ alone is your own home", "give another path")
    if why := _nowhere(place):
        return Problem(key, f"{shown(value)} cannot be used", why, "give another path")
    if any(mark in value for mark in _ESCAPED) and not os.path.lexists(place):
        why = "in double quotes a single backslash and the letter after it are one character"
        fix = r"write paths with / or in single quotes: 'C:\pictures\cats'"
        return Problem(key, f"{shown(value)} has a control character", why, fix)
    return None


def _nowhere(place: Path) -> str:
    """Why the system can follow no such path: too long, or links that lead in a circle; empty for all others."""
    try:
        place.stat()
    except OSError as error:
        return (error.strerror or "").lower() if error.errno in (errno.ENAMETOOLONG, errno.ELOOP) else ""
    return ""


def resolve(plan: Plan, folder: Path) -> Plan:
    """The same plan with absolute paths, read relative to `folder`; PlanErrors for paths that name nothing."""
    _refuse_paths(plan, folder)
    places = {
        name: _absolute(getattr(plan.data, name), folder) for name in ("path", "class_path", "mask_path")
    }
    within = Path(places["path"] or folder)
    data = plan.data.model_copy(update={**places, "sets": placed(plan.data.sets, within)})
    options = plan.options
    own = options.model_copy(
        update={name: _absolute(getattr(options, name), folder) for name in options.path_fields}
    )
    base = plan.base
    changes = {
        name: _absolute(value, folder)
        for name, value in (("model", base.model), ("tokenizer", base.tokenizer), ("vae", base.vae))
        if isinstance(value, str) and is_path(value, folder)
    }
    captions = plan.captions.model_copy(update={"folder": _absolute(plan.captions.folder, folder)})
    validation = plan.validation.model_copy(update={"path": _absolute(plan.validation.path, folder)})
    tables = {
        "data": data,
        "base": base.model_copy(update=changes),
        "captions": captions,
        "validation": validation,
        "samples": plan.samples.model_copy(update={"clip": _absolute(plan.samples.clip, folder)}),
        plan.method: own,
    }
    plan = plan.model_copy(update=tables)
    _refuse_paths(plan, folder)  # a folder on the way, or where a link leads, may have another kind of name
    return plan


def _refuse_paths(plan: Plan, folder: Path) -> None:
    values = [(key, _value(plan, key), folder) for key in path_keys(plan.method)]
    within = (
        folder / Path(plan.data.path).expanduser()
        if plan.data.sets and not unusable("", plan.data.path)
        else folder
    )
    values += [(f"data.sets.{number}.path", one.path, within) for number, one in enumerate(plan.data.sets)]
    problems = [found for key, value, place in values if (found := unusable(key, value, place)) is not None]
    if problems:
        raise PlanErrors(problems)


def _value(plan: Plan, key: str) -> object:
    table, _, name = key.partition(".")
    return getattr(getattr(plan, table), name)


def _absolute(value: str, folder: Path) -> str:
    return str((folder / Path(value).expanduser()).resolve()) if value else value


def to_dict(plan: Plan) -> dict[str, Any]:
    """Nested tables, without what is unset and without other methods' tables."""
    return _without_none(plan.model_dump(mode="json"))


def _without_none(table: dict[str, Any]) -> dict[str, Any]:
    def plain(value: Any) -> Any:
        if isinstance(value, list):
            return [plain(each) for each in value]
        return _without_none(value) if isinstance(value, dict) else value

    return {key: plain(value) for key, value in table.items() if value is not None}


def dumps(plan: Plan) -> str:
    """The canonical text: every field, in the order of the schema."""
    return tomli_w.dumps(to_dict(plan))


def plan_hash(plan: Plan) -> str:
    """The first 16 hex digits of the canonical text's SHA-256."""
    return hashlib.sha256(dumps(plan).encode()).hexdigest()[:16]
