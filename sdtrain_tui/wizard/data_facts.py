"""What a look at the pictures found, as rows: the pictures themselves, their conditions, class pictures."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING

from sdtrain_tui.wizard.facts_view import Fact

if TYPE_CHECKING:
    from engine.dataset.findings import Finding
    from engine.dataset.report import DatasetReport
    from sdtrain_tui.wizard.draft import Draft

CAPTIONS, BUCKETS, PROBLEMS, NAMES = 3, 6, 8, 3
ROLES = {"error": "error", "warning": "warn", "info": "quiet"}
COUNTED = {
    "condition-missing": "without a condition picture",
    "condition-unreadable": "with a condition that cannot be read",
    "condition-shape": "with a condition of another shape",
    "condition-alone": "conditions without a picture",
    "condition-outside": "conditions outside the folder",
    "two-conditions": "conditions of a name that is taken",
}


def facts_of(report: DatasetReport) -> list[Fact]:
    """A report in rows: counts, shapes, captions as they will be trained, and what is wrong."""
    counts = report.counts
    wide, high = report.median_size
    rows: list[Fact] = [
        *_set_rows(report),
        ("pictures", "strong", f"{counts.images} to train on, {counts.files - counts.images} left out"),
        ("captions", "text", f"{counts.captioned} of {counts.images} have their own"),
        *([("masks", "text", f"{counts.masked} of {counts.images} have one")] if counts.masked else []),
        ("size", "text", f"{wide} x {high} in the middle"),
    ]
    shapes = [f"{w}x{h} ×{n}" for (w, h), n in list(report.buckets.items())[:BUCKETS]]
    more = len(report.buckets) - BUCKETS
    rows.append(
        (
            "trained at " + ", ".join(map(str, (report.resolution, *report.more_resolutions))),
            "text",
            "  ".join(shapes) + (f"  and {more} more" if more > 0 else ""),
        )
    )
    for place, item in enumerate(report.items[:CAPTIONS]):
        rows.append(
            ("for example" if not place else "", "quiet", f"{item.rel}: {item.caption or '(no words)'}")
        )
    return rows + _problem_rows(report.problems)


def _set_rows(report: DatasetReport) -> list[Fact]:
    draws = sum(one.pictures * one.repeats for one in report.sets) or 1
    return [
        (
            "" if place else "sets",
            "text",
            f"{one.name}: {one.pictures} ×{one.repeats}, {one.pictures * one.repeats / draws:.0%} of the draws"
            + (f", {one.trigger}" if one.trigger else ""),
        )
        for place, one in enumerate(report.sets)
    ]


def condition_facts(draft: Draft) -> list[Fact]:
    """Where the conditions come from, and each way in which pictures are left without one, counted."""
    maker = _condition(draft)
    if not maker:
        return []
    if maker != "files":
        return [("conditions", "text", f"{maker} maps, made from the pictures before training")]
    pairs, report = (draft.facts.pairs, draft.report) if draft.facts is not None else (None, None)
    if pairs is None or report is None:
        return []
    paired, apart = len(pairs.report.items), {finding.file for finding in pairs.problems}
    of = sum(item.rel in apart for item in report.items) + paired
    rows: list[Fact] = [
        ("conditions", "strong" if paired == of else "warn", f"{paired} of {of} pictures have theirs")
    ]
    by_code = sorted((finding for finding in pairs.problems if finding.level != "error"), key=_order)
    for code, group in groupby(by_code, key=lambda finding: finding.code):
        found = list(group)
        names = ", ".join(finding.file for finding in found[:NAMES])
        more = f" and {len(found) - NAMES} more" if len(found) > NAMES else ""
        rows.append(("", "warn", f"{len(found)} {COUNTED.get(code, found[0].what)}: {names}{more}"))
    return rows


def _condition(draft: Draft) -> str:
    """The kind of condition that the method sees; empty for a method without."""
    from engine.plan.schema import own_options

    options = own_options(draft.method, draft.answers)
    source = options.conditions if options is not None else None
    return "" if source is None else source.maker


def prior_facts(draft: Draft) -> list[Fact]:
    """How many class pictures there are and how many are drawn."""
    built = draft.built
    if built is None or draft.facts is None:
        return []
    data, prior = built.plan.data, draft.facts.prior
    own = len(prior.items) if prior is not None else 0
    missing = max(0, data.class_count - own)
    if not own and not missing:
        return []
    parts = [f"{own} of your own"] if own else []
    parts += [f"{missing} are drawn by the base model before training"] if missing else []
    return [("class pictures", "text", ", ".join(parts))]


def _problem_rows(problems: tuple[Finding, ...]) -> list[Fact]:
    rows: list[Fact] = []
    by_kind = [list(group) for _, group in groupby(sorted(problems, key=_order), key=_order)]
    for same in by_kind[:PROBLEMS]:
        first = same[0]
        who = f"{first.file}: " if first.file != "." else ""
        others = f" (and {len(same) - 1} more)" if len(same) > 1 else ""
        rows.append((first.level, ROLES[first.level], f"{who}{first.what}{others}"))
        if first.fix and first.level != "info":
            rows.append(("", "quiet", first.fix))
    return rows


def _order(finding: Finding) -> tuple[int, str]:
    return (("error", "warning", "info").index(finding.level), finding.code)
