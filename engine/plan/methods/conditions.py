"""What ControlNet and T2I-Adapter have in common: a condition picture beside every picture."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from engine.errors import UserError
from engine.models.file_table import FileTable, file_table
from engine.plan.fields import option
from engine.plan.methods.base import ConditionSource, Lesson, MethodOptions
from engine.plan.methods.context import PlanContext
from engine.plan.problems import Problem, warning

if TYPE_CHECKING:
    from engine.dataset.findings import Finding
    from engine.dataset.pairs import Pairs

WEIGHTS = "diffusion_pytorch_model.safetensors"
ConditionMaker = Literal["files", "canny", "depth", "openpose", "hed", "lineart"]
# Words in a file's name by which ComfyUI and AUTOMATIC1111 take a ControlNet for another kind.
MISLEADING = ("shuffle", "instant_id")
CLASS_OBSTACLE = "class pictures have no conditions, and the base model is frozen anyway: it forgets nothing"


class ConditionOptions(MethodOptions):
    """Options of methods that see a condition picture beside every picture."""

    sizeless_fields: ClassVar[frozenset[str]] = frozenset(
        {"condition", "condition_path", "condition_model", "channels"}
    )
    path_fields: ClassVar[tuple[str, ...]] = ("condition_path", "condition_model")
    condition_fields: ClassVar[tuple[str, ...]] = ("condition", "condition_path", "condition_model")

    condition: ConditionMaker = option(
        "files", "condition pictures: given as files, or made from the pictures"
    )
    condition_path: str = option(
        "", "folder of condition pictures with the same names; none takes metadata's column"
    )
    condition_model: str = option(
        "", "folder of the model that makes the maps; none takes the usual one from the hub cache"
    )
    channels: Literal["1", "3"] = option("3", "channels of the condition picture")

    @property
    def idle(self) -> frozenset[str]:
        own = {"files": "condition_model", "canny": "condition_path condition_model"}
        return frozenset(own.get(self.condition, "condition_path").split())

    @property
    def conditions(self) -> ConditionSource:
        return ConditionSource(self.condition, self.condition_path, int(self.channels), self.condition_model)

    def problems(self, ctx: PlanContext) -> Iterator[Problem]:
        if self.condition_model and "condition_model" in self.idle:
            why = f"no model makes the maps, as condition is {self.condition}"
            yield warning(f"{ctx.plan.method}.condition_model", "has no effect", why, "leave it out")
        yield from self._made_problems(ctx) if self.condition != "files" else self._file_problems(ctx)
        name = ctx.plan.file_stem.lower()
        found = next((word for word in MISLEADING if word in name), None)
        if found:
            why = f"programs that see {found!r} in a file's name compute something else with it"
            yield warning("output.file_name", f"{name} has {found!r} in it", why, "choose another name")

    def _made_problems(self, ctx: PlanContext) -> Iterator[Problem]:
        from engine.dataset.annotators import obstacle

        method = ctx.plan.method
        if self.condition_path:
            why = f"the maps are made from the pictures, as condition is {self.condition}"
            fix = 'set condition = "files", or leave it out'
            yield warning(f"{method}.condition_path", "has no effect", why, fix)
        problem = obstacle(self.condition, self.condition_model)
        if problem is not None:
            yield Problem(f"{method}.condition", problem.what, problem.why, problem.fix)

    def _file_problems(self, ctx: PlanContext) -> Iterator[Problem]:
        path, key = self.condition_path, f"{ctx.plan.method}.condition_path"
        folder = Path(path).expanduser()
        if path and not folder.is_dir():
            why = "it is the folder of condition pictures, which have the pictures' names"
            yield Problem(key, f"{path} is no folder", why, "correct the path")
        elif path and folder.resolve() == Path(ctx.plan.data.path).expanduser().resolve():
            why = "every picture would be its own condition"
            yield Problem(key, "is the folder of the pictures", why, "keep them in two folders")
        elif ctx.report is not None and ctx.report.items and (pairs := ctx.pair(ctx.report, path)):
            yield from _left_out(pairs, key)


def _left_out(pairs: Pairs, key: str) -> Iterator[Problem]:
    """Every picture that is left out, by name; where it is all of them, one problem says it for all."""
    errors = [finding for finding in pairs.problems if finding.level == "error"]
    if errors:
        yield Problem(key, errors[0].what, errors[0].why, errors[0].fix)
    groups: dict[str, list[Finding]] = {}
    for finding in pairs.problems:
        if finding.level == "warning" and not (errors and finding.code == "condition-missing"):
            groups.setdefault(finding.code, []).append(finding)
    for found in groups.values():
        alike = len({finding.what for finding in found}) == 1
        names = [finding.file if alike else f"{finding.file} ({finding.what})" for finding in found]
        what = f"{', '.join(names)}: {found[0].what}" if alike else "; ".join(names)
        left_out = found[0].code in ("condition-missing", "condition-unreadable", "condition-shape")
        why = f"{found[0].why}; {len(found)} left out" if left_out else found[0].why
        yield warning(key, what, why, found[0].fix)


def start_problems(
    start: str, method: str, title: str, misfit: Callable[[FileTable], str]
) -> Iterator[Problem]:
    """What is wrong with the folder or file that a network goes on from, by the names and shapes of its weights.

    `misfit` says why such a network is none for this base; empty for one that fits.
    """
    from engine.dataset.names import PICTURES

    key, path = f"{method}.start", Path(start).expanduser()
    if not path.exists():
        yield Problem(key, f"{path} is not there", "training would begin with it", "correct it")
        return
    files = sorted(path.glob("*.safetensors"), key=lambda file: (file.name != WEIGHTS, file.name))
    if path.is_dir() and not files:
        why = f"a network's folder has config.json and {WEIGHTS}"
        yield Problem(key, f"{path} holds no weights", why, "name such a folder, or a file")
    elif path.is_file() and path.suffix.lower() in PICTURES:
        yield Problem(key, f"{path} is a picture", "", "name such a network's folder or file")
    else:
        yield from _network_problems(files[0] if path.is_dir() else path, key, title, misfit)


def _network_problems(
    file: Path, key: str, title: str, misfit: Callable[[FileTable], str]
) -> Iterator[Problem]:
    try:
        table = file_table(file)
    except UserError as error:
        yield Problem(key, error.what, error.why, error.fix)
        return
    if table.kind != f"a {title}":
        first = next(iter(table.shapes), "nothing")
        what = f"{file} is {table.kind}" if table.kind else f"{file} is no {title}"
        yield Problem(key, what, f"it holds {first!r}", f"name a {title}, or leave it out")
    elif why := misfit(table):
        yield Problem(
            key, f"{file} is of another family", why, f"name a {title} for this base, or leave it out"
        )


def outline_lesson(method: str, teaches: str) -> Lesson:
    """To draw the thing where its outline is."""
    return Lesson("outlines", 320, teaches, answers={f"{method}.condition_path": "{folder}/outlines"})
