"""Plans as TOML: read with every problem at once, written in one canonical form, hashed."""

from __future__ import annotations

import hashlib
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tomli_w
from pydantic import ValidationError

from engine.errors import UserError
from engine.files import is_path
from engine.plan.methods import DEFAULT_METHOD, METHODS
from engine.plan.problems import PlanErrors, Problem, from_validation
from engine.plan.schema import SCHEMA_VERSION, Plan, plan_fields


def from_dict(data: dict[str, Any], where: str = "the plan") -> Plan:
    """A plan from nested tables; raises PlanErrors with all problems."""
    version = data.get("version", SCHEMA_VERSION)
    if version != SCHEMA_VERSION:
        fix = (
            "upgrade sdtrain-tui"
            if isinstance(version, int) and version > SCHEMA_VERSION
            else "set version = 1"
        )
        problem = Problem(
            "version", f"{version!r} is not known here", f"this program reads {SCHEMA_VERSION}", fix
        )
        raise PlanErrors([problem], where)
    try:
        return Plan.model_validate(data)
    except ValidationError as error:
        method = str(data.get("method", DEFAULT_METHOD))
        known = [field.key for field in plan_fields(method if method in METHODS else DEFAULT_METHOD)]
        raise PlanErrors(from_validation(error, known), where) from None


def parse(text: str, where: str = "the plan") -> dict[str, Any]:
    """TOML text to tables; a syntax error names line and column."""
    try:
        return tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise UserError(
            f"{where} is not valid TOML", str(error), "correct the line, or make a new plan: sdtrain new"
        ) from None


def loads(text: str, where: str = "the plan") -> Plan:
    """A plan from TOML text."""
    return from_dict(parse(text, where), where)


def read_text(path: Path) -> str:
    """A plan file's text; a missing, unreadable or non-text file is a UserError."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise UserError(f"there is no plan at {path}", fix="make one: sdtrain new -o plan.toml") from None
    except OSError as error:
        raise UserError(
            f"cannot read the plan {path}", error.strerror or str(error), "check the path and its rights"
        ) from None
    if len(data) > 1_000_000:
        raise UserError(f"{path} is too large for a plan", f"{len(data)} bytes", "give a plan file in TOML")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        raise UserError(
            f"{path} is not a text file", "a plan is TOML in UTF-8", "give a plan, not a model"
        ) from None


def load_plan(source: Path | str | Mapping[str, Any], sets: list[str] | None = None) -> Plan:
    """A plan from a file, or from nested tables, `sets` applied on top.

    Relative paths are taken from the file's folder; those of tables from the current one.
    """
    from engine.plan.overrides import apply_sets

    if isinstance(source, Mapping):
        return resolve(from_dict(apply_sets(dict(source), sets or [])), Path.cwd())
    path = Path(source)
    data = apply_sets(parse(read_text(path), str(path)), sets or [])
    return resolve(from_dict(data, str(path)), path.resolve().parent)


def path_keys(method: str) -> tuple[str, ...]:
    """The fields of a method's plan that name a file or folder; base.model may also be another name."""
    own = METHODS[method].options.path_fields if method in METHODS else ()
    return (
        "base.model",
        "base.tokenizer",
        "base.vae",
        "data.path",
        "data.class_path",
        *(f"{method}.{name}" for name in own),
    )


def homeless(key: str, value: object) -> Problem | None:
    """A path that begins with the home of a user whom this machine does not have."""
    if not isinstance(value, str) or not value.startswith("~"):
        return None
    try:
        Path(value).expanduser()
    except RuntimeError:
        user = value.split("/")[0]
        return Problem(key, f"{user} is no user's home here", "~ alone is your own home", "give another path")
    return None


def resolve(plan: Plan, folder: Path) -> Plan:
    """The same plan with absolute paths, read relative to `folder`; PlanErrors for homes that nobody has."""
    values = ((key, _value(plan, key)) for key in path_keys(plan.method))
    problems = [found for key, value in values if (found := homeless(key, value)) is not None]
    if problems:
        raise PlanErrors(problems)
    places = {name: _absolute(getattr(plan.data, name), folder) for name in ("path", "class_path")}
    data = plan.data.model_copy(update=places)
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
    return plan.model_copy(update={"data": data, "base": base.model_copy(update=changes), plan.method: own})


def _value(plan: Plan, key: str) -> object:
    table, _, name = key.partition(".")
    return getattr(getattr(plan, table), name)


def _absolute(value: str, folder: Path) -> str:
    return str((folder / Path(value).expanduser()).resolve()) if value else value


def to_dict(plan: Plan) -> dict[str, Any]:
    """Nested tables, without what is unset and without other methods' tables."""
    return _without_none(plan.model_dump(mode="json"))


def _without_none(table: dict[str, Any]) -> dict[str, Any]:
    return {
        key: _without_none(value) if isinstance(value, dict) else value
        for key, value in table.items()
        if value is not None
    }


def dumps(plan: Plan) -> str:
    """The canonical text: every field, in the order of the schema."""
    return tomli_w.dumps(to_dict(plan))


def plan_hash(plan: Plan) -> str:
    """The first 16 hex digits of the canonical text's SHA-256."""
    return hashlib.sha256(dumps(plan).encode()).hexdigest()[:16]
