"""The reports: numbers as people read them, goals, and pages whose tables are replaced in place."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.__main__ import command_of, main, put_between, renewed
from benchmarks.figures import Figure, Report, markdown, number, read_report, table
from benchmarks.gpu_report import gpu_markdown
from engine.cost.gpus import peak_of

FIGURES = [
    Figure("paint.home", "first paint: home", 0.41, "s", 0.6, note="why"),
    Figure("loop.share", "outside", 12.0, "%", 10.0),
    Figure("launch.first-step", "launch", None, "s", 6.0),
]
REPORT = Report({"cpu": "a"}, {"python": "3"}, FIGURES)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"),
        (0.0012, "0.0012"),
        (0.456, "0.46"),
        (2.0, "2"),
        (12.34, "12.3"),
        (543.2, "543"),
        (1234567.8, "1,234,568"),
    ],
)
def test_numbers_keep_three_digits(value: float, text: str) -> None:
    assert number(value) == text


def test_a_goal_is_met_missed_or_open() -> None:
    assert [figure.verdict for figure in FIGURES] == ["yes", "NO", ""]
    assert Figure("a", "b", 0.31, "", 0.3, at_least=True).verdict == "yes"


def test_a_report_survives_json() -> None:
    assert read_report(REPORT.to_json()) == REPORT


def test_one_measure_is_renewed_and_the_others_stay() -> None:
    fresh = Figure("loop.share", "outside", 8.0, "%", 10.0)
    figures = renewed(REPORT, "loop_overhead", [fresh]).figures
    assert figures == [FIGURES[0], fresh, FIGURES[2]]


def test_both_tables_say_what_was_not_measured() -> None:
    assert "not measured" in table(FIGURES)
    rows = markdown(REPORT, command_of).splitlines()
    row = "| launch | not measured | ≤ 6 s |  | `python -m benchmarks launch` |"
    assert row in rows
    assert any("`python -m benchmarks loop_overhead`" in line for line in rows)


def test_a_page_gets_new_tables_and_keeps_the_rest(tmp_path: Path) -> None:
    page, source = tmp_path / "page.md", tmp_path / "report.json"
    page.write_text(
        "top\n<!-- figures:begin -->\nold\n<!-- figures:end -->\nmid\n<!-- gpu:begin -->\n<!-- gpu:end -->\n"
    )
    source.write_text(REPORT.to_json())
    assert main(["--from", str(source), "--into", str(page)]) == 0
    text = page.read_text()
    assert text.startswith("top\n")
    assert "\nmid\n" in text
    assert "old" not in text
    assert "first paint: home" in text
    assert text.count("not measured") == 6
    with pytest.raises(ValueError, match="no marks for gpu"):
        put_between("nothing", "gpu", "")


def test_gpus_are_known_by_name_and_others_have_no_peak() -> None:
    names = (
        "NVIDIA H100 80GB HBM3",
        "NVIDIA H100 PCIe",
        "NVIDIA A100-SXM4-80GB",
        "NVIDIA A10",
        "NVIDIA GeForce RTX 4090",
    )
    peaks = [peak_of(name) for name in names]
    assert [peak.flops / 1e12 for peak in peaks if peak] == [989, 756, 312, 125, 165.2]
    assert peak_of("Some GPU") is None


def test_without_a_gpu_every_gpu_figure_reads_not_measured() -> None:
    rows = gpu_markdown(None).splitlines()[2:]
    assert rows
    assert all("| not measured |" in row for row in rows)
