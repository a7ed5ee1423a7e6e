"""One report of several sets: their pictures in the sets' order, what is wrong with each under its folder's name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace

from engine.dataset.findings import Finding, printable
from engine.dataset.report import Counts, DatasetReport, Item, SetCount
from engine.dataset.treatment import Treatment
from engine.dataset.whole_report import put_together

_SAID_BY_SETS = frozenset({"repeat-folder", "repeat-folders"})
"""What a folder's name says stands in its set."""


def combined(
    reports: Sequence[DatasetReport], treatments: Sequence[Treatment], resolution: int, trigger: str
) -> DatasetReport:
    """The sets of `reports` as one; each picture gets the treatment of its set."""
    items: list[Item] = []
    problems: list[Finding] = []
    for report, treatment in zip(reports, treatments, strict=True):
        items += (replace(item, treatment=treatment) for item in report.items)
        problems += (
            _named(each, treatment.name) for each in report.problems if each.code not in _SAID_BY_SETS
        )
    counts = Counts(
        **{each.name: sum(getattr(report.counts, each.name) for report in reports) for each in fields(Counts)}
    )
    found = put_together(
        ", ".join(report.folder for report in reports),
        resolution,
        trigger,
        any(report.recursive for report in reports),
        all(report.deep for report in reports),
        items,
        problems,
        counts,
    )
    sides = {side for report in reports for side in (report.resolution, *report.more_resolutions)}
    return replace(
        found,
        more_resolutions=tuple(sorted(sides - {resolution})),
        sets=tuple(
            SetCount(one.name, len(report.items), one.repeats, one.weight, report.trigger)
            for report, one in zip(reports, treatments, strict=True)
        ),
    )


def _named(finding: Finding, name: str) -> Finding:
    where = printable(name)
    fix = finding.fix.replace("data.path", "the set's path")
    return replace(finding, file=where if finding.file == "." else f"{where}/{finding.file}", fix=fix)
