"""From a few answers to a whole plan: preset, then what follows from the facts, then what was given."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from engine.cost.machine import Machine, machine
from engine.dataset.pairs import Pairs, pair_up
from engine.dataset.repeat_folders import only_set
from engine.dataset.report import DatasetReport
from engine.errors import UserError
from engine.models.bases import locate
from engine.plan.captions import own_captions
from engine.plan.data import Data
from engine.plan.files import from_dict, path_keys, resolve, unusable
from engine.plan.layouts import Layout, placed, read_layout
from engine.plan.methods import DEFAULT_METHOD
from engine.plan.methods.context import Derived
from engine.plan.picture_sets import PictureSet
from engine.plan.problems import PlanErrors, Problem
from engine.plan.schema import Plan, own_options
from engine.planning.builder import Facts, PlanBuilder, flatten, nested
from engine.planning.data import scan_folder, scan_sets
from engine.planning.derive import RULES

__all__ = ["Built", "Derived", "Facts", "build", "build_plan", "gather", "refuse_wrong"]


DATA = frozenset({"data.path", "data.sets"})
LOOKED_AT = ("masks", "mask_path", "more_resolutions", "bucket_min", "bucket_max")


@dataclass(frozen=True)
class Built:
    """A plan, and every value in it that does not come from the answers or the schema's defaults."""

    plan: Plan
    derived: tuple[Derived, ...]


def refuse_wrong(answers: Mapping[str, object]) -> None:
    """PlanErrors for answers that are wrong by themselves, before anything is looked at."""
    given = flatten(answers)
    # The name alone is needed by the schema and derived later.
    from_dict(nested({"name": "run", **given}))
    problems = _unusable(given, str(given.get("method", DEFAULT_METHOD)))
    if problems:
        raise PlanErrors(problems)


def gather(answers: Mapping[str, object], here: Machine | None = None) -> Facts:
    """Look at the base, the folders and the machine that the answers name; reads headers only.

    What keeps a base or a folder from being found is a problem in the facts; what is wrong with the pictures
    is in their report.
    """
    given = flatten(answers)
    here = machine() if here is None else here
    method = str(given.get("method", DEFAULT_METHOD))
    problems = _unusable(given, method)
    wrong = {problem.key for problem in problems}
    base = None
    model = given.get("base.model")
    if isinstance(model, str) and "base.model" not in wrong:
        try:
            base = locate(model, allow_download=given.get("base.allow_download") is True)
        except UserError as error:
            problems.append(Problem("base.model", error.what, error.why, error.fix))
    side = given.get("data.resolution", base.native_resolution if base else 512)
    folder = given.get("data.path")
    place = Path(folder).expanduser() if isinstance(folder, str) and folder and not wrong & DATA else None
    layout, found = None, None
    if place is not None and not given.get("data.sets"):
        try:
            layout = read_layout(place)
        except UserError as error:
            problems.append(Problem("data.path", error.what, error.why, error.fix))
        found = only_set(place) if layout is None else None
    trigger = str(given.get("data.trigger", found.words if found else ""))
    report = None if wrong & DATA else _scan(given, "data.path", side, trigger, _sets(given, layout))
    prior = None if "data.class_path" in wrong else _scan(given, "data.class_path", side)
    if prior is not None and not prior.items:
        why, fix = "the class pictures are read from it", "name a folder of pictures, or leave it out"
        problems.append(Problem("data.class_path", "has no picture that can be used", why, fix))
    pairs = None
    if report is not None and report.items and f"{method}.condition_path" not in wrong:
        pairs = _pairs(given, method, report)
    gpu = here.gpu_for(str(given.get("hardware.device", "auto")))
    vram = gpu.gigabytes if gpu else None
    return Facts(report, base, vram, here.gpus, here, tuple(problems), pairs, prior, layout, found)


def _unusable(given: Mapping[str, object], method: str) -> list[Problem]:
    found = (unusable(key, given.get(key)) for key in path_keys(method))
    return [problem for problem in found if problem is not None]


def _sets(given: Mapping[str, object], layout: Layout | None) -> list[PictureSet]:
    """The sets that are given or found, with absolute paths."""
    if layout is not None:
        return layout.placed()
    tables, folder = given.get("data.sets"), given.get("data.path")
    within = Path(folder).expanduser() if isinstance(folder, str) else Path()
    sets = [PictureSet.model_validate(table) for table in tables] if isinstance(tables, list) else []
    return placed(sets, Path.cwd() / within)


def _scan(
    given: Mapping[str, object],
    key: str,
    side: object,
    trigger: str = "",
    sets: Sequence[PictureSet] = (),
) -> DatasetReport | None:
    folder = given.get(key)
    if not (isinstance(side, int) and side >= 32 and side % 8 == 0):
        return None
    if not sets and not (isinstance(folder, str) and folder):
        return None
    known = {name: given[f"data.{name}"] for name in Data.model_fields if f"data.{name}" in given}
    shown = {"path": str(folder or ""), "resolution": side, "trigger": trigger, "sets": list(sets)}
    data = Data.model_validate({**known, **shown} if sets else shown | _looked_at(given))
    if any(side % 8 for side in data.sides):
        return None
    if key != "data.path":
        return scan_folder(data, data.path)
    return scan_sets(data, _apart(given), rules=own_captions(given).rules)


def _looked_at(given: Mapping[str, object]) -> dict[str, object]:
    """How a folder is looked at."""
    flags = {name: given.get(f"data.{name}", True) is True for name in ("bucket", "recursive")}
    return flags | {name: given[f"data.{name}"] for name in LOOKED_AT if f"data.{name}" in given}


def _apart(given: Mapping[str, object]) -> list[Path]:
    """What Plan.folders_apart will be."""
    options = own_options(str(given.get("method", DEFAULT_METHOD)), given)
    source = options.conditions if options is not None else None
    path = source.path if source is not None and source.maker == "files" else ""
    named = (path, given.get("validation.path"), given.get("data.mask_path"))
    found = [each for each in named if isinstance(each, str) and each]
    return [Path(each).expanduser() for each in found if unusable("", each) is None]


def _pairs(given: Mapping[str, object], method: str, report: DatasetReport) -> Pairs | None:
    """The pictures with their conditions, for a method that is given them as files."""
    options = own_options(method, given)
    source = options.conditions if options is not None else None
    if source is None or source.maker != "files":
        return None
    return (
        pair_up(report, source.path) if not source.path or Path(source.path).expanduser().is_dir() else None
    )


def build(answers: Mapping[str, object], facts: Facts) -> Built:
    """The plan for these answers (dotted keys, or nested tables) and facts.

    The same answers and facts give the same text, byte for byte. Paths become absolute. PlanErrors names every
    answer that does not fit the schema.
    """
    given = flatten(answers)
    problems = _unusable(given, str(given.get("method", DEFAULT_METHOD)))
    if problems:
        raise PlanErrors(problems)
    builder = PlanBuilder(given, facts)
    for rule in RULES:
        for derived in rule(builder):
            builder.take(derived)
    plan = resolve(from_dict(nested(builder.values)), Path.cwd())
    return Built(plan, tuple(builder.derived.values()))


def build_plan(answers: Mapping[str, object]) -> Plan:
    """The plan that `sdtrain new` makes of these answers, looking at the base, the pictures and this machine."""
    return build(answers, gather(answers)).plan
