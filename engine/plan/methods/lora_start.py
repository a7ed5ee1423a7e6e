"""A LoRA that goes on from a file: what the file gives a plan, and what in a plan does not fit it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from engine.errors import UserError
from engine.models.family_spec import FamilySpec
from engine.models.layers import Layer
from engine.models.lora_file import FilePair, LoraFile, matched, read_lora, stems_of
from engine.models.lycoris_file import LycorisFile, lycoris_kind, read_lycoris
from engine.plan.methods.context import Derived, GrowingPlan, PlanContext
from engine.plan.problems import Problem

if TYPE_CHECKING:
    from engine.plan.methods.lora import LoraOptions


def derived(plan: GrowingPlan) -> Iterator[Derived]:
    """Rank, alpha, targets and text encoder as the file has them; nothing where it cannot be read."""
    start = plan.given.get(f"{plan.method}.start")
    if not isinstance(start, str) or not start:
        return
    try:
        path = Path(start).expanduser()
        kind = lycoris_kind(path)
        file: LoraFile | LycorisFile = read_lycoris(path, kind) if kind else read_lora(path)
    except (UserError, RuntimeError):
        return
    why = f"as {file.path.name} has it, which the training goes on from"
    if isinstance(file, LycorisFile):
        yield Derived(f"{plan.method}.kind", file.kind, why)
        rank = file.ranks[-1] if file.ranks else 16
        yield Derived(f"{plan.method}.rank", rank, why)
        yield Derived(f"{plan.method}.alpha", float(rank), "the file's strength is in its tensors")
        yield Derived(f"{plan.method}.targets", file.targets, why)
        yield Derived(f"{plan.method}.text_encoder", file.has_text, why)
        return
    yield Derived(f"{plan.method}.rank", file.ranks[-1], why)
    yield Derived(f"{plan.method}.alpha", file.alpha, why)
    yield Derived(f"{plan.method}.targets", file.targets, why)
    yield Derived(f"{plan.method}.text_encoder", file.has_text, why)


def problems(options: LoraOptions, ctx: PlanContext, layers: Sequence[Layer]) -> Iterator[Problem]:
    """What does not fit, by name; `layers` are the denoiser's that the plan adapts, none where they are unknown."""
    table = ctx.plan.method
    key = f"{table}.start"
    try:
        path, kind = Path(options.start).expanduser(), options.kind
        file: LoraFile | LycorisFile = (
            read_lycoris(path, kind) if kind in ("loha", "lokr") else read_lora(path)
        )
    except UserError as error:
        other = lycoris_kind(path)
        where = key if kind == "lora" or other == kind or not path.is_file() else f"{table}.kind"
        fix = f"set {table}.kind = {other!r}" if other and other != kind else error.fix
        yield Problem(where, error.what, error.why, fix)
        return
    yield from _options(options, table, file)
    if options.text_encoder != file.has_text:
        has = "adapts" if file.has_text else "does not adapt"
        fix = f"set {table}.text_encoder = {str(file.has_text).lower()}"
        yield Problem(f"{table}.text_encoder", "is not as in the file", f"it {has} the text encoder", fix)
    if ctx.family is not None and layers:
        yield from _modules(file, ctx.family, ctx.denoiser_config, layers, table)


def _options(options: LoraOptions, table: str, file: LoraFile | LycorisFile) -> Iterator[Problem]:
    start = f"{file.path.name}, which {table}.start names"
    for name, used in (("kind", options.kind == "oft"), ("dora", options.dora)):
        if used:
            fix = f"leave {table}.{name} or {table}.start out"
            yield Problem(f"{table}.{name}", "does not go with start", f"{start}, holds plain pairs", fix)
    if options.block_ranks:
        fix = "leave them out"
        yield Problem(f"{table}.block_ranks", "do not go with start", f"the ranks are those of {start}", fix)
    if file.ranks and file.ranks != (options.rank,):
        found = ", ".join(map(str, file.ranks))
        fix = f"set {table}.rank = {found}" if len(file.ranks) == 1 else "name a file of one rank"
        yield Problem(f"{table}.rank", f"is {options.rank}", f"{start}, has rank {found}", fix)


def _modules(
    file: LoraFile | LycorisFile,
    family: FamilySpec,
    config: Mapping[str, object],
    layers: Sequence[Layer],
    table: str,
) -> Iterator[Problem]:
    key = f"{table}.start"
    found = matched(file, stems_of(family, config, family.denoiser, (layer.path for layer in layers)))
    if not found:
        why = f"none of its modules is one that this plan adapts in {family.title}"
        yield Problem(key, f"{file.path} does not fit", why, "name a LoRA of this family, or none")
        return
    for layer in layers:
        pair = file.pairs[found[layer.path]] if layer.path in found else None
        if isinstance(pair, FilePair) and (pair.inputs, pair.outputs) != (layer.inputs, layer.outputs):
            sizes = f"{layer.inputs} to {layer.outputs} channels, the file's {pair.inputs} to {pair.outputs}"
            why = f"{layer.path} has {sizes}"
            yield Problem(key, f"{file.path} is for another base model", why, "name one of this family")
            return
    texts = tuple(name for part in family.text for name in (f"{part.kohya}_", f"{part.name}."))
    left = [stem for stem in file.pairs if stem not in found.values() and not stem.startswith(texts)]
    lacks = [layer.path for layer in layers if layer.path not in found]
    if left or lacks:
        what = (
            f"the file lacks {len(lacks)} of the plan's layers" if lacks else f"{len(left)} layers are left"
        )
        why = f"for example {(lacks or left)[0]}"
        fix = f"the file's own layers are {table}.targets = {file.targets!r}"
        yield Problem(f"{table}.targets", what, why, fix)
