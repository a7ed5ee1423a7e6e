"""Rules about ControlNet and T2I-Adapter: their condition pictures, what they start from, what fits the base."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from engine.dataset.annotators import obstacle
from engine.dataset.findings import Finding
from engine.dataset.pairs import Pairs
from engine.dataset.walk import PICTURES
from engine.plan.methods.controlnet import ConditionOptions, ControlnetOptions
from engine.plan.methods.t2i_adapter import T2iAdapterOptions
from engine.plan.problems import Problem
from engine.planning.rules.context import Context, Rule, warning

# Words in a file's name by which ComfyUI and AUTOMATIC1111 take a ControlNet for another kind.
MISLEADING = ("shuffle", "instant_id")
XL_GRID = 16


def _key(ctx: Context, name: str) -> str:
    return f"{ctx.plan.method}.{name}"


def source(ctx: Context) -> Iterator[Problem]:
    """Where the conditions come from."""
    options = ctx.plan.options
    if not isinstance(options, ConditionOptions):
        return
    path = options.condition_path
    if options.condition != "files":
        if path:
            why = f"the maps are made from the pictures, as condition is {options.condition}"
            yield warning(
                _key(ctx, "condition_path"), "has no effect", why, 'set condition = "files", or leave it out'
            )
        problem = obstacle(options.condition)
        if problem is not None:
            yield Problem(_key(ctx, "condition"), problem.what, problem.why, problem.fix)
        return
    folder = Path(path).expanduser()
    if path and not folder.is_dir():
        why = "it is the folder of condition pictures, which have the pictures' names"
        yield Problem(_key(ctx, "condition_path"), f"{path} is no folder", why, "correct the path")
    elif path and folder.resolve() == Path(ctx.plan.data.path).expanduser().resolve():
        why = "every picture would be its own condition"
        yield Problem(
            _key(ctx, "condition_path"), "is the folder of the pictures", why, "keep them in two folders"
        )
    elif ctx.report is not None and ctx.report.items and (pairs := ctx.pair(ctx.report, path)):
        yield from _pairs(ctx, pairs)


def _pairs(ctx: Context, pairs: Pairs) -> Iterator[Problem]:
    """Every picture that is left out, by name; where it is all of them, one problem says it for all."""
    key = _key(ctx, "condition_path")
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


def class_pictures(ctx: Context) -> Iterator[Problem]:
    data = ctx.plan.data
    if isinstance(ctx.plan.options, ConditionOptions) and (data.class_path or data.class_count):
        key = "data.class_path" if data.class_path else "data.class_count"
        why = "class pictures have no conditions, and the base model is frozen anyway: it forgets nothing"
        yield Problem(key, f"does not go with {ctx.spec.title}", why, "leave it out")


def start(ctx: Context) -> Iterator[Problem]:
    options = ctx.plan.options
    if not isinstance(options, ControlnetOptions) or not options.start:
        return
    path = Path(options.start).expanduser()
    if not path.exists():
        yield Problem(
            "controlnet.start", f"{path} is not there", "training would begin with it", "correct it"
        )
    elif path.is_dir() and not any(path.glob("*.safetensors")):
        why = "a ControlNet's folder has config.json and diffusion_pytorch_model.safetensors"
        yield Problem("controlnet.start", f"{path} holds no weights", why, "name such a folder, or a file")
    elif path.is_file() and path.suffix.lower() in PICTURES:
        yield Problem("controlnet.start", f"{path} is a picture", "", "name a ControlNet's folder or file")


def adapter_kind(ctx: Context) -> Iterator[Problem]:
    options = ctx.plan.options
    if not isinstance(options, T2iAdapterOptions) or ctx.family is None:
        return
    xl = ctx.family.name == "sdxl"
    fits = ("auto", "full_adapter_xl") if xl else ("auto", "full_adapter", "light_adapter")
    if options.kind not in fits:
        why = "its features have other sizes than the levels of this UNet"
        what = f"{options.kind} does not fit {ctx.family.title}"
        yield Problem("t2i_adapter.kind", what, why, 'set it to "auto"')
    sides = set() if ctx.report is None else {side for size in ctx.report.buckets for side in size}
    odd = sorted(side for side in sides if side % XL_GRID)
    if xl and odd:
        what = f"pictures are trained with sides of {', '.join(map(str, odd))} px"
        why = f"this adapter folds {XL_GRID} x {XL_GRID} pixels into one place"
        yield Problem("data.resolution", what, why, f"set a multiple of {64} px")


def file_name(ctx: Context) -> Iterator[Problem]:
    name = (ctx.plan.output.file_name or ctx.plan.name).lower()
    found = next((word for word in MISLEADING if word in name), None)
    if isinstance(ctx.plan.options, ConditionOptions) and found:
        why = f"programs that see {found!r} in a file's name compute something else with it"
        yield warning("output.file_name", f"{name} has {found!r} in it", why, "choose another name")


RULES: tuple[Rule, ...] = (source, class_pictures, start, adapter_kind, file_name)
