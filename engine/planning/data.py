"""The one place where a plan's sets are scanned: check, forecast, training and exports see the same pictures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from engine.dataset.caption_rules import USUAL, CaptionRules
from engine.dataset.combined import combined
from engine.dataset.held_out import apart, ranked
from engine.dataset.masks import NONE, MaskChoice
from engine.dataset.report import DatasetReport, Item
from engine.dataset.scan import scan
from engine.dataset.treatment import Treatment, repeats_for
from engine.plan.data import Data
from engine.plan.picture_sets import PictureSet
from engine.plan.schema import Plan


def scan_data(plan: Plan) -> DatasetReport:
    """The pictures that the plan learns from; UserError for a resolution that is no multiple of 8."""
    return scan_sets(plan.data, plan.folders_apart, rules=plan.caption_rules)


def scan_sets(
    data: Data, without: Collection[Path] = (), deep: bool = False, rules: CaptionRules = USUAL
) -> DatasetReport:
    """The pictures of the sets to learn from; `without` are folders inside to pass over, `deep` and `rules` are
    `scan`'s."""
    if not data.sets:
        more = data.more_resolutions
        return scan_folder(data, data.path, data.trigger, without, deep, rules, data.mask_choice, more)
    return _scan_all(data, data.picture_sets, without, deep, rules)


def scan_classes(data: Data, deep: bool = False) -> DatasetReport | None:
    """The pictures of the plan's sets of class pictures, if it has such sets."""
    return _scan_all(data, data.class_sets, (), deep) if data.class_sets else None


def scan_folder(
    data: Data,
    folder: str | Path,
    trigger: str = "",
    without: Collection[Path] = (),
    deep: bool = False,
    rules: CaptionRules = USUAL,
    masks: MaskChoice = NONE,
    more: Sequence[int] = (),
) -> DatasetReport:
    """Another folder of pictures, looked at as the plan's own is; `without` are folders inside to pass over,
    `rules` the plan's for captions, `masks` says where its masks come from, `more` are further resolutions."""
    return scan(
        Path(folder).expanduser(),
        resolution=data.resolution,
        trigger=trigger,
        bucket=data.bucket,
        recursive=data.recursive,
        deep=deep,
        without=without,
        rules=rules,
        masks=masks,
        more=more,
        limits=data.limits,
    )


def _scan_all(
    data: Data,
    sets: Sequence[PictureSet],
    without: Collection[Path],
    deep: bool,
    rules: CaptionRules = USUAL,
) -> DatasetReport:
    # A set that lies in another one's folder is a set of its own.
    folders = {Path(each.path).expanduser() for each in data.sets}
    reports = [
        scan(
            (own := Path(each.path).expanduser()),
            resolution=each.resolution or data.resolution,
            trigger=each.trigger or "",
            trigger_mode="prepend" if each.add_trigger else "keep",
            bucket=bool(each.bucket),
            recursive=data.recursive,
            deep=deep,
            without=[*without, *(folders - {own})],
            rules=rules,
            masks=MaskChoice(each.masks or "off", data.mask_path) if each.kind == "pictures" else NONE,
            more=each.more_resolutions or (),
            limits=data.limits,
        )
        for each in sets
    ]
    return combined(reports, _treatments(sets, reports), data.resolution, data.trigger)


def treatments(plan: Plan, items: Sequence[Item]) -> list[Treatment]:
    """How each of the pictures is shown: as its set says, and without sets as the plan does."""
    own = _treatment(plan.data.whole_set, plan.data.repeats)
    return [own if item.treatment is None else item.treatment for item in items]


def trained_on(plan: Plan, report: DatasetReport) -> tuple[Item, ...]:
    """The pictures of a report of the plan's sets less those that it holds out."""
    return _split(plan, report)[0]


def validated_on(plan: Plan, report: DatasetReport) -> tuple[Item, ...]:
    """The pictures that the plan validates on, in the order of their keys; none where it does not validate.

    `report` is that of the plan's sets. UserError for a folder without a picture that can be used.
    """
    validation = plan.validation
    if validation.on and validation.path:
        return tuple(ranked(scan_validation(plan).require().items, validation.seed)[: validation.pictures])
    return _split(plan, report)[1]


def scan_validation(plan: Plan) -> DatasetReport:
    """The plan's folder to validate on, looked at as its pictures are."""
    own, source = plan.validation.path, plan.options.conditions
    files = source.path if source is not None and source.maker == "files" else ""
    conditions = [Path(files).expanduser()] if files else []
    masks = plan.data.mask_choice
    return scan_folder(plan.data, own, plan.data.trigger, conditions, rules=plan.caption_rules, masks=masks)


def _split(plan: Plan, report: DatasetReport) -> tuple[tuple[Item, ...], tuple[Item, ...]]:
    validation = plan.validation
    if not validation.on or validation.path or not validation.share:
        return report.items, ()
    return apart(report.items, validation.share, validation.pictures, validation.seed)


def draws_by_size(plan: Plan, report: DatasetReport) -> Mapping[tuple[int, int], int]:
    """How many draws of an epoch each size has, repeats counted."""
    items = trained_on(plan, report)
    if not report.sets and items is report.items:
        return {size: count * plan.data.repeats for size, count in report.buckets.items()}
    draws: Counter[tuple[int, int]] = Counter()
    for item, shown_as in zip(items, treatments(plan, items), strict=True):
        draws.update(dict.fromkeys(item.sizes, shown_as.repeats))
    return draws


def _treatments(sets: Sequence[PictureSet], reports: Sequence[DatasetReport]) -> list[Treatment]:
    repeats = [each.repeats or 1 for each in sets]
    if any(each.share for each in sets):
        repeats = repeats_for([each.share for each in sets], [len(report.items) for report in reports])
    names = Counter(Path(each.path).name for each in sets)
    found = [_treatment(each, number) for each, number in zip(sets, repeats, strict=True)]
    return [
        replace(one, name="/".join(Path(each.path).parts[-2:])) if names[one.name] > 1 else one
        for each, one in zip(sets, found, strict=True)
    ]


def _treatment(one: PictureSet, repeats: int) -> Treatment:
    return Treatment(
        name=Path(one.path).name,
        repeats=repeats,
        weight=one.weight,
        flip=bool(one.flip),
        random_crop=bool(one.random_crop),
        caption_dropout=one.caption_dropout or 0.0,
        shuffle_tags=bool(one.shuffle_tags),
        keep_tags=one.keep_tags or 0,
        unmasked_weight=one.unmasked_weight or 0.0,
    )
