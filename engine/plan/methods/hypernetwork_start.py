"""A hypernetwork that goes on from a file: what the file gives a plan, and what in a plan does not fit it."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

from engine.errors import UserError
from engine.models.hypernetwork_file import read_hypernetwork
from engine.plan.methods.context import Derived, GrowingPlan
from engine.plan.problems import Problem

TABLE = "hypernetwork"
KEY = f"{TABLE}.start"


def derived(plan: GrowingPlan) -> Iterator[Derived]:
    """Structure and activation as the file has them; nothing where it cannot be read."""
    start = plan.given.get(KEY)
    if not isinstance(start, str) or not start:
        return
    try:
        file = read_hypernetwork(Path(start).expanduser())
    except (UserError, RuntimeError):
        return
    why = f"as {file.path.name} has it, which the training goes on from"
    yield Derived(f"{TABLE}.layer_structure", list(file.structure), why)
    yield Derived(f"{TABLE}.activation", file.activation, why)


def problems(
    start: str, structure: Sequence[float], activation: str, widths: Collection[int]
) -> Iterator[Problem]:
    """What does not fit, by name; `widths` are those that the plan trains, empty where they are unknown."""
    try:
        file = read_hypernetwork(Path(start).expanduser())
    except UserError as error:
        yield Problem(KEY, error.what, error.why, error.fix)
        return
    has = f"{file.path.name}, which start names, has"
    if tuple(structure) != file.structure:
        given = list(file.structure)
        yield Problem(f"{TABLE}.layer_structure", f"is {list(structure)}", f"{has} {given}", f"set {given}")
    if activation != file.activation:
        why = f"{has} {file.activation}"
        yield Problem(f"{TABLE}.activation", f"is {activation}", why, f"set {file.activation!r}")
    if not widths or set(widths) == set(file.widths):
        return
    own, theirs = (", ".join(map(str, sorted(each))) for each in (widths, file.widths))
    if set(file.widths) < set(widths):
        fix = f"set {TABLE}.self_attention = false"
        yield Problem(f"{TABLE}.self_attention", f"trains the widths {own}", f"{has} {theirs}", fix)
    else:
        why = f"it changes contexts of the widths {theirs}, and this base has {own}"
        yield Problem(
            KEY, f"{file.path} is of another family", why, "name a file of this family, or leave it out"
        )
