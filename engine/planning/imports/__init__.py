"""Settings of other training tools as a plan; one more tool is a file and a line here."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from engine.errors import UserError
from engine.files import read_plain
from engine.plan.files import from_dict, resolve, to_dict, with_sets
from engine.plan.overrides import parse_set, put
from engine.plan.schema import Plan
from engine.planning.data import scan_data
from engine.planning.epochs import STEPS_OF, asked, updates
from engine.planning.imports import (
    aitoolkit,
    diffusers,
    kohya,
    kohya_dataset,
    kohya_gui,
    onetrainer,
    simpletuner,
)
from engine.planning.imports.base import Reading, Tool
from engine.planning.imports.command import parse_command

TOOLS: tuple[Tool, ...] = (
    kohya_dataset.TOOL,
    kohya.TOOL,
    kohya_gui.TOOL,
    onetrainer.TOOL,
    simpletuner.TOOL,
    aitoolkit.TOOL,
    diffusers.TOOL,
)
LARGEST = 1_000_000
SHELL = (".sh", ".bash", ".bat", ".ps1", ".txt", ".cmd")
NEEDED = {"base.model": "the base model", "data.path": "the pictures"}


def read_settings(source: str, sets: Sequence[str] = ()) -> Reading:
    """What a file, or a command's text, comes to; KEY=VALUE of `sets` come before what it says.

    UserError for what belongs to no tool that is known, and for values that cannot be a plan's.
    """
    given = dict(parse_set(item) for item in sets)
    path = Path(source).expanduser() if "\n" not in source and len(source) < 4096 else Path()
    is_file = _is_file(path)
    content = _content(path) if is_file else parse_command(source)
    method = str(given.get("method", ""))
    where = path if is_file else Path.cwd() / "the command"
    try:
        made = _read(content, where, method)
    except ValueError as error:
        raise UserError(f"{where.name} cannot be read", str(error), "correct it") from None
    if made is None:
        raise UserError(
            f"{source[:200]!r} holds settings of no tool that is known",
            f"known are {', '.join(tool.title for tool in TOOLS)}",
            "give one of their files, or the command that starts a training script",
        )
    made.answers |= given
    return made


def recognised(path: Path) -> str:
    """Whose settings a file holds; empty for a plan, and for anything else."""
    try:
        if not _is_file(path) or path.stat().st_size > LARGEST:
            return ""
        made = next((tool for tool in TOOLS if _holds(tool, _content(path), path)), None)
    except (UserError, OSError, ValueError):
        return ""
    return "" if made is None else made.title


def plan_of(made: Reading, where: str) -> Plan:
    """The plan; UserError where something is missing that was not said, PlanErrors for values that do not fit."""
    lacks = [key for key in NEEDED if not made.answers.get(key)]
    if made.answers.get("data.sets"):
        lacks = [key for key in lacks if key != "data.path"]
    if lacks:
        what = f"{where} does not say {' and '.join(NEEDED[key] for key in lacks)}"
        given = " ".join(f"--set {key}=..." for key in lacks)
        raise UserError(what, "nothing is guessed", f"add {given}")
    tables: dict[str, Any] = {"name": "imported"}
    for key, value in made.answers.items():
        put(tables, key, value)
    return _counted(with_sets(resolve(from_dict(tables, where), made.beside.absolute())))


def _counted(plan: Plan) -> Plan:
    """With the steps that its epochs come to; as it is where its pictures are not here, which a check says."""
    said = asked(plan)
    report = scan_data(plan) if said and not any(each % 8 for each in plan.data.sides) else None
    if report is None or not report.items:
        return plan
    tables = to_dict(plan)
    for key, epochs in said.items():
        put(tables, STEPS_OF[key], updates(plan, report, epochs))
    return from_dict(tables)


def _read(content: Any, path: Path, method: str) -> Reading | None:
    return next((made for tool in TOOLS if (made := tool.of(content, path, method)) is not None), None)


def _holds(tool: Tool, content: Any, path: Path) -> bool:
    try:
        return tool.of(content, path, "") is not None
    except (UserError, ValueError):
        return True  # it is this tool's, and cannot be carried over as it stands


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:
        return False


def _content(path: Path) -> Any:
    """The content of a TOML, JSON, YAML or shell file; none where it is none of these."""
    suffix = path.suffix.lower()
    raw = read_plain(path, LARGEST + 1)
    if len(raw) > LARGEST:
        raise UserError(
            f"{path} is too large", f"settings have {LARGEST:,} bytes at most", "give a file of settings"
        )
    try:
        text = raw.decode("utf-8-sig")
        if suffix == ".toml":
            return tomllib.loads(text)
        if suffix == ".json" or path.name.endswith(".json.example"):
            return json.loads(text)
        if suffix in (".yaml", ".yml"):
            return _yaml(text)
        return parse_command(text)
    except (ValueError, RecursionError) as error:
        line = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(f"{path} cannot be read", line, "correct the file") from None


def _yaml(text: str) -> Any:
    """By the safe loader, which makes plain values alone. By name: only a YAML file needs it."""
    yaml: Any = import_module("yaml")
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ValueError(" ".join(str(error).split())[:200]) from None
