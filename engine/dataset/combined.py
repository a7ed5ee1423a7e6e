"""One report of several sets: their pictures in the sets' order, what is wrong with each under its folder's name."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import fields, replace

from engine.dataset.findings import Finding, printable
from engine.dataset.report import Counts, DatasetReport, Item, SetCount
from engine.dataset.scan import LEVEL_ORDER, histogram
from engine.dataset.treatment import Treatment

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
    words, words_are = histogram([item.caption for item in items])
    table = Counter(item.size for item in items)
    return DatasetReport(
        folder=", ".join(report.folder for report in reports),
        resolution=resolution,
        trigger=trigger,
        recursive=any(report.recursive for report in reports),
        deep=all(report.deep for report in reports),
        items=tuple(items),
        problems=tuple(sorted(problems, key=lambda each: (LEVEL_ORDER[each.level], each.code, each.file))),
        counts=Counts(
            **{
                each.name: sum(getattr(report.counts, each.name) for report in reports)
                for each in fields(Counts)
            }
        ),
        buckets=dict(sorted(table.items(), key=lambda entry: (-entry[1], entry[0]))),
        median_size=(
            round(statistics.median(item.width for item in items)) if items else 0,
            round(statistics.median(item.height for item in items)) if items else 0,
        ),
        words=words,
        words_are=words_are,
        sets=tuple(
            SetCount(one.name, len(report.items), one.repeats, one.weight, report.trigger)
            for report, one in zip(reports, treatments, strict=True)
        ),
    )


def _named(finding: Finding, name: str) -> Finding:
    where = printable(name)
    return replace(finding, file=where if finding.file == "." else f"{where}/{finding.file}")
