"""Writes a run's output files: the plan's formats, each read back and compared before its event."""

from __future__ import annotations

import hashlib
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path

from engine.dataset.contents import ContentIndex
from engine.dataset.report import Item
from engine.errors import UserError
from engine.export.base import About, Exported, ExportRequest, ModelFacts, SetFacts
from engine.export.published import model_name, own_name
from engine.export.registry import export, get_format
from engine.files import opened_plain, patiently
from engine.methods.artifact import Artifact
from engine.models.bases import locate
from engine.plan.files import plan_hash
from engine.plan.schema import Plan
from engine.planning.data import treatments
from engine.run.jsonl import decode_line
from engine.run.paths import RunDir, cache_root
from engine.train.setup import DTYPES, AdaptedModel, load_plan_family

EMA, RAW = "ema", "raw"
Averaged = Callable[[], AbstractContextManager[None]]


def target(plan: Plan, name: str, folder: Path, weights: str = "", label: str = "") -> Path:
    """Where below `folder` a format's file goes.

    A format with a folder of its own has the plain name there, and so has the first of the others; what follows says
    which it is. So do the last step's own weights where there are averages too.
    """
    form = get_format(name)
    word = plan.options.stem_beside(form.kind, plan.data.trigger)
    stem = (word or _own_stem(plan, form.kind)) + label + (f"-{RAW}" if weights == RAW else "")
    together = [other for other in plan.export_formats if not get_format(other).folder]
    plain = form.folder or word or name in together[:1]
    return folder / form.folder / f"{stem if plain else f'{stem}-{name}'}{form.extension}"


def _own_stem(plan: Plan, kind: str) -> str:
    """What the result's own files are called: not like those beside it, which may go into the same folder."""
    kinds = {get_format(name).kind for name in plan.export_formats}
    beside = {plan.options.stem_beside(each, plan.data.trigger).casefold() for each in kinds}
    return f"{plan.file_stem}-{kind}" if plan.file_stem.casefold() in beside else plan.file_stem


def learned(adapted: AdaptedModel, asked: str, averaged: Averaged | None) -> Iterator[tuple[str, Artifact]]:
    """What `asked` (ema, raw, both) of a model gives, each with which weights it holds: ema, raw, or nothing
    where there are no averages. Inside `averaged`, which is none then, the model has them."""
    if averaged is None:
        yield "", adapted.method.artifact(adapted.family)
        return
    if asked != RAW:
        with averaged():
            average = adapted.method.artifact(adapted.family)
        yield EMA, average
    if asked != EMA:
        yield RAW, adapted.method.artifact(adapted.family)


def fitting(plan: Plan, family: str) -> list[str]:
    """The plan's formats that hold what its method makes of this family."""
    return [name for name in plan.export_formats if family in get_format(name).families]


def targets(plan: Plan, family: str, folder: Path, label: str, averages: bool) -> list[Path]:
    """Every file or folder that `export_all` writes at a time; of one file a word, the first word's."""
    kinds = {EMA: [EMA], RAW: [RAW]}.get(plan.output.weights, [EMA, RAW]) if averages else [""]
    return [target(plan, name, folder, which, label) for which in kinds for name in fitting(plan, family)]


def export_one(
    plan: Plan,
    adapted: AdaptedModel,
    artifact: Artifact,
    name: str,
    step: int,
    out: Path,
    items: Sequence[Item],
    overwrite: bool,
    weights: str = "",
    started: float = 0.0,
) -> Exported:
    """One file in one format; `weights` is what it says of them, `started` when training began (Unix time)."""
    family = adapted.family
    facts = ModelFacts(family.spec.name, family.schedule.prediction, family.configs)
    side, told = plan.data.resolution, plan.output.metadata == "full"
    about = About(
        name=out.stem,
        plan_hash=plan_hash(plan),
        base_model=model_name(plan.base.model),
        base_hash=base_hash(plan),
        created=time.time(),
        started=started,
        seed=plan.seed,
        resolution=(side, side),
        trigger_words=plan.data.triggers if told else (),
        images=len(items),
        sets=sets_of(plan, items, told),
        clip_skip=plan.base.clip_skip,
        max_tokens=plan.captions.max_tokens,
        buckets=Counter(size for item in items for size in item.sizes),
        captions=told,
        extra={"sdtrain.weights": weights} if weights else {},
    )
    request = ExportRequest(
        artifact.of(get_format(name).kind),
        facts,
        about,
        step,
        out,
        DTYPES[plan.output.dtype],
        overwrite,
        base=partial(load_plan_family, plan),
        tokenizers=family.tokenizers,
    )
    return export(name, request)


def export_all(
    plan: Plan,
    adapted: AdaptedModel,
    folder: Path,
    step: int,
    items: Sequence[Item],
    label: str = "",
    averaged: Averaged | None = None,
    started: float = 0.0,
    tell: Callable[[Exported], object] = lambda done: None,
    without: Collection[Path] = (),
) -> list[Exported]:
    """Every chosen format of the chosen weights into `folder`, except what `without` says is there; a run that
    finishes again after a resume replaces its own files. `tell` hears of each file as soon as it is written.
    `averaged` as in `learned`, `started` as in `export_one`."""
    formats = fitting(plan, adapted.family.spec.name)
    if not formats:
        raise UserError(f"no export format fits method {plan.method} on {adapted.family.spec.title}")
    written = []
    for weights, artifact in learned(adapted, plan.output.weights, averaged):
        for name in formats:
            out = target(plan, name, folder, weights, label)
            if out in without:
                continue
            size = (
                sum(value.numel() for value in artifact.tensors.values()) * DTYPES[plan.output.dtype].itemsize
            )
            write = partial(
                export_one, plan, adapted, artifact, name, step, out, items, True, weights, started
            )
            written.append(patiently(out, size, write))
            tell(written[-1])
    return written


def sets_of(plan: Plan, items: Sequence[Item], told: bool) -> tuple[SetFacts, ...]:
    """What files say of the plan's sets; where captions are not `told`, numbers alone."""
    by_set: dict[tuple[str, int], list[Item]] = {}
    for item, shown_as in zip(items, treatments(plan, items), strict=True):
        name = own_name(shown_as.name, "") if told else ""
        by_set.setdefault((name, shown_as.repeats), []).append(item)
    return tuple(
        SetFacts(name, repeats, len(own), tags_of(own) if told else {})
        for (name, repeats), own in by_set.items()
    )


def tags_of(items: Sequence[Item]) -> dict[str, int]:
    """How often each comma-separated tag stands in the captions, as AUTOMATIC1111 shows it."""
    counts = Counter(tag.strip() for item in items for tag in item.caption.split(",") if tag.strip())
    return dict(counts.most_common(200))


def base_hash(plan: Plan) -> str:
    """SHA-256 of the base model's file; for a folder, of its weight files' names and hashes."""
    path = locate(plan.base.model, allow_download=plan.base.allow_download).path
    if path is None:
        return ""
    index = ContentIndex(cache_root())
    if path.is_file():
        return index.sha256(path)
    digest = hashlib.sha256()
    for file in sorted(path.glob("*/*.safetensors")):
        digest.update(f"{file.relative_to(path)} {index.sha256(file)}\n".encode())
    return digest.hexdigest()


def started_at(run: RunDir) -> float:
    """When the run first started (Unix time, from its first event); 0 where that cannot be read."""
    try:
        with opened_plain(run.events_file) as file:
            first = decode_line(file.readline(1 << 20))
    except OSError:
        return 0.0
    at = (first or {}).get("t")
    return float(at) if isinstance(at, int | float) else 0.0


def run_exports(run: RunDir) -> Path:
    """Where a run's own files go."""
    run.exports.mkdir(exist_ok=True)
    return run.exports
