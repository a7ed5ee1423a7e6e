"""Writes a run's output files: the plan's formats, each read back and compared before its event."""

from __future__ import annotations

import hashlib
import time
from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from engine.dataset.contents import ContentIndex
from engine.dataset.report import Item
from engine.errors import UserError
from engine.export.base import About, Exported, ExportRequest, ModelFacts
from engine.export.registry import get_format
from engine.methods.artifact import Artifact
from engine.plan.bases import locate
from engine.plan.files import plan_hash
from engine.plan.schema import Plan
from engine.run.paths import RunDir, cache_root
from engine.train.setup import DTYPES, Ready, load_plan_family


def file_stem(plan: Plan, name: str, formats: Sequence[str], label: str = "") -> str:
    """The first format has the plain name; others say which they are."""
    stem = (plan.output.file_name or plan.name) + label
    return stem if name == formats[0] else f"{stem}-{name}"


def export_one(
    plan: Plan,
    ready: Ready,
    artifact: Artifact,
    name: str,
    step: int,
    out: Path,
    items: Sequence[Item],
    created: float,
    overwrite: bool,
) -> Exported:
    """One file in one format."""
    family = ready.family
    facts = ModelFacts(family.spec.name, family.schedule.prediction, family.configs)
    side = plan.data.resolution
    about = About(
        name=out.stem,
        plan_hash=plan_hash(plan),
        base_model=plan.base.model,
        base_hash=base_hash(plan),
        created=created,
        seed=plan.seed,
        resolution=(side, side),
        trigger_words=(plan.data.trigger,) if plan.data.trigger else (),
        images=len(items),
        tag_frequency=tag_frequency(Path(plan.data.path).name, items),
    )
    request = ExportRequest(
        artifact,
        facts,
        about,
        step,
        out,
        DTYPES[plan.output.dtype],
        overwrite,
        base=partial(load_plan_family, plan),
        tokenizers=family.tokenizers,
    )
    return get_format(name).write(request)


def export_all(
    plan: Plan, ready: Ready, folder: Path, step: int, items: Sequence[Item], label: str = ""
) -> list[Exported]:
    """Every chosen format into `folder`; a run that finishes again after a resume replaces its own files."""
    formats = [name for name in plan.export_formats if ready.family.spec.name in get_format(name).families]
    if not formats:
        raise UserError(f"no export format fits method {plan.method} on {ready.family.spec.title}")
    artifact = ready.method.artifact(ready.family)
    created = time.time()
    written = []
    for name in formats:
        out = folder / f"{file_stem(plan, name, formats, label)}{get_format(name).extension}"
        written.append(export_one(plan, ready, artifact, name, step, out, items, created, overwrite=True))
    return written


def tag_frequency(folder: str, items: Sequence[Item]) -> dict[str, dict[str, int]]:
    """How often each comma-separated tag stands in the captions, as AUTOMATIC1111 shows it."""
    counts = Counter(tag.strip() for item in items for tag in item.caption.split(",") if tag.strip())
    return {folder: dict(counts.most_common(200))}


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


def run_exports(run: RunDir) -> Path:
    """Where a run's own files go."""
    run.exports.mkdir(exist_ok=True)
    return run.exports
