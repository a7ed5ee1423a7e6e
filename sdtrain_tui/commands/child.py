"""Running a part of the engine in a process of its own, so that this one stays free of torch."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from typing import Any

from engine import process
from engine.errors import UserError

Record = dict[str, Any]


def run_module(module: str, *arguments: str, on_line: Callable[[Record], None] | None = None) -> list[Record]:
    """The JSON objects that `python -m MODULE ARGUMENTS` prints, one a line, as they come.

    An object {"error": {"what", "why", "fix"}}, or a failure that says itself on stderr, is raised as UserError.
    """
    found: list[Record] = []
    with subprocess.Popen(
        process.command(module, *arguments),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=process.environment(os.environ),
    ) as child:
        assert child.stdout is not None and child.stderr is not None
        for line in child.stdout:
            record = _record(line)
            if record is not None:
                found.append(record)
                if on_line is not None and "error" not in record:
                    on_line(record)
        said = child.stderr.read().strip().splitlines()
    for record in found:
        if isinstance(record.get("error"), dict):
            error = record["error"]
            raise UserError(*(str(error.get(name, "")) for name in ("what", "why", "fix")))
    if child.returncode:
        raise _failure(module, child.returncode, said)
    return found


def _record(line: str) -> Record | None:
    try:
        value = json.loads(line)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def _failure(module: str, code: int, said: list[str]) -> UserError:
    """The UserError that the child printed as its lines; libraries may have warned before it."""
    texts = {
        name: next((line[5:] for line in said if line.startswith(f"{name}: ")), "") for name in ("why", "fix")
    }
    if code == 2 and said:
        first = next((at for at, line in enumerate(said) if line.startswith(("why: ", "fix: "))), len(said))
        return UserError(said[max(0, first - 1)], texts["why"], texts["fix"])
    last = said[-1] if said else f"exit code {code}"
    return UserError(f"{module} did not work", last, "run `sdtrain doctor`")
