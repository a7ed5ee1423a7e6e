"""A word that goes on from a file: what the file gives a plan, and what in a plan does not fit it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from engine.errors import UserError
from engine.models.embedding_file import read_embedding
from engine.models.file_table import file_table
from engine.plan.methods.context import Derived, GrowingPlan, PlanContext
from engine.plan.problems import Problem, warning

KEY = "textual_inversion.start"


def derived(plan: GrowingPlan) -> Iterator[Derived]:
    """As many vectors as the file has; nothing where it cannot be read."""
    start = plan.given.get(KEY)
    if not isinstance(start, str) or not start:
        return
    try:
        shapes = file_table(Path(start).expanduser()).shapes.values()
    except (UserError, RuntimeError):
        return
    counts = {shape[0] if len(shape) == 2 else 1 for shape in shapes}
    if len(counts) == 1:
        why = f"as {Path(start).name} has it, which the training goes on from"
        yield Derived("textual_inversion.vectors", counts.pop(), why)


def problems(
    start: str, vectors: int, initial: Sequence[str], words: Sequence[str], ctx: PlanContext
) -> Iterator[Problem]:
    """What does not fit, by name."""
    path = Path(start).expanduser()
    if initial:
        yield warning(
            "textual_inversion.initial",
            "changes nothing",
            f"the words start from {path.name}",
            "leave it out",
        )
    if ctx.family is None:
        return
    try:
        found = read_embedding(path, ctx.family, words)
    except UserError as error:
        yield Problem(KEY, error.what, error.why, error.fix)
        return
    counts = sorted({place.vectors for places in found.values() for place in places.values()})
    if counts != [vectors]:
        told = ", ".join(map(str, counts))
        fix = (
            f"set textual_inversion.vectors = {counts[0]}"
            if len(counts) == 1
            else "name a file of one number"
        )
        yield Problem(
            "textual_inversion.vectors", f"is {vectors}", f"{path.name}, which start names, has {told}", fix
        )
    reads = ctx.denoiser_config.get("cross_attention_dim")
    for places in found.values():
        width = sum(place.width for place in places.values())
        if isinstance(reads, int) and width != reads:
            why = f"its vectors are {width} wide, and {ctx.family.title} reads {reads}"
            yield Problem(
                KEY, f"{path} is of another family", why, "name a file of this family, or leave it out"
            )
            return
