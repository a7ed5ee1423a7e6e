"""Step 3: the pictures: where they lie, what they are called, and what a look at them found."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING

from textual import on
from textual.app import ComposeResult

from sdtrain_tui.wizard.controls import PathInput
from sdtrain_tui.wizard.facts_view import Fact, FactLines
from sdtrain_tui.wizard.field_row import FieldRow
from sdtrain_tui.wizard.step import Step

if TYPE_CHECKING:
    from engine.dataset.findings import Finding
    from engine.dataset.report import DatasetReport

CAPTIONS, BUCKETS, PROBLEMS = 3, 6, 8
ROLES = {"error": "error", "warning": "warn", "info": "quiet"}


class DataStep(Step):
    """A folder and a trigger word; below, what the scan says while they are typed."""

    NAME = "data"
    LEAD = "Where are the pictures? They are only read; captions beside them help."
    KEYS = ("data.path", "data.trigger", "data.flip")
    PREFIXES = ("data.path", "data.trigger")

    def content(self) -> ComposeResult:
        fields = self.draft.fields()
        yield FieldRow(fields["data.path"], self.draft, "folder", wide=True)
        yield FieldRow(fields["data.trigger"], self.draft, "trigger word", wide=True)
        yield FieldRow(fields["data.flip"], self.draft, "mirror too")
        yield FactLines(id="data-facts")

    @on(PathInput.Candidates)
    def _candidates(self, event: PathInput.Candidates) -> None:
        event.stop()
        self.query_one(FactLines).show_names(event.names)

    def show(self) -> None:
        super().show()
        lines = self.query_one(FactLines)
        report, problem = self.draft.report, self.draft.problem("data.path")
        if "data.path" not in self.draft.answers:
            lines.show([("", "quiet", "no folder yet; Tab completes its name")])
        elif problem is not None and problem.level == "error":
            lines.show_problem(problem)
        elif self.draft.large:
            lines.show([("large", "warn", "many files lie below: Enter looks at all of them")])
        elif report is None:
            lines.show([("", "quiet", "looking at the pictures ...")])
        else:
            lines.show(facts_of(report))


def facts_of(report: DatasetReport) -> list[Fact]:
    """A report in rows: counts, shapes, captions as they will be trained, and what is wrong."""
    counts = report.counts
    wide, high = report.median_size
    rows: list[Fact] = [
        ("pictures", "strong", f"{counts.images} to train on, {counts.files - counts.images} left out"),
        ("captions", "text", f"{counts.captioned} of {counts.images} have their own"),
        ("size", "text", f"{wide} x {high} in the middle"),
    ]
    shapes = [f"{w}x{h} ×{n}" for (w, h), n in list(report.buckets.items())[:BUCKETS]]
    more = len(report.buckets) - BUCKETS
    rows.append(
        (
            f"trained at {report.resolution}",
            "text",
            "  ".join(shapes) + (f"  and {more} more" if more > 0 else ""),
        )
    )
    for place, item in enumerate(report.items[:CAPTIONS]):
        rows.append(
            ("for example" if not place else "", "quiet", f"{item.rel}: {item.caption or '(no words)'}")
        )
    return rows + _problem_rows(report.problems)


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
