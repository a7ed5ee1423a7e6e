"""What a measure hands back: numbers with their unit and goal, the machine they were taken on, and two tables."""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as package_version
from pathlib import Path

PACKAGES = ("torch", "diffusers", "transformers", "peft", "textual", "rich", "pydantic", "numpy")


@dataclass(frozen=True)
class Figure:
    """One measured number. `goal` is an upper bound in the same unit unless `at_least`; None where there is none."""

    key: str
    title: str
    value: float | None
    unit: str
    goal: float | None = None
    at_least: bool = False
    note: str = ""

    @property
    def verdict(self) -> str:
        """How it compares with its goal: yes, no, or nothing where there is no goal or no number."""
        if self.goal is None or self.value is None:
            return ""
        good = self.value >= self.goal if self.at_least else self.value <= self.goal
        return "yes" if good else "NO"

    @property
    def shown(self) -> str:
        """Value and unit as a person reads them."""
        return "not measured" if self.value is None else f"{number(self.value)} {self.unit}".strip()

    @property
    def shown_goal(self) -> str:
        """The goal with its direction."""
        if self.goal is None:
            return ""
        return f"{'≥' if self.at_least else '≤'} {number(self.goal)} {self.unit}".strip()


@dataclass(frozen=True)
class Report:
    """One run of some measures."""

    machine: dict[str, str]
    versions: dict[str, str]
    figures: list[Figure] = field(default_factory=list)

    def to_json(self) -> str:
        """The whole report; `read_report` is the inverse."""
        return json.dumps(asdict(self), indent=1, ensure_ascii=False) + "\n"


def read_report(text: str) -> Report:
    """A report from its JSON text."""
    data = json.loads(text)
    return Report(data["machine"], data["versions"], [Figure(**entry) for entry in data["figures"]])


def number(value: float) -> str:
    """Three significant digits without an exponent; whole numbers from 1000 on, with commas."""
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    digits = (
        0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2 if abs(value) >= 0.1 or value == 0 else 4
    )
    text = f"{value:.{digits}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def median(values: Iterable[float]) -> float:
    """The median of at least one number."""
    return float(statistics.median(list(values)))


def machine() -> dict[str, str]:
    """Processor, cores, memory and system of this machine."""
    import psutil

    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    return {
        "cpu": _cpu_model(),
        "cores": f"{os.cpu_count()}",
        "memory": f"{psutil.virtual_memory().total / 2**30:.1f} GiB",
        "system": f"{platform.system()} {platform.release()}, {platform.machine()}",
        "load": f"{load} (1, 5 and 15 minutes, at the start)",
    }


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or "unknown"
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or "unknown"


def versions() -> dict[str, str]:
    """Python and the packages whose speed is measured here."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = package_version(name)
        except PackageNotFoundError:
            found[name] = "absent"
    return found


def table(figures: Sequence[Figure]) -> str:
    """The figures as aligned text."""
    rows = [("figure", "value", "goal", "met")]
    rows += [(item.title, item.shown, item.shown_goal, item.verdict) for item in figures]
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
    notes = [f"  {item.title}: {item.note}" for item in figures if item.note]
    return "\n".join([lines[0], "-" * len(lines[0]), *lines[1:], *(["", "notes:"] if notes else []), *notes])


def markdown(report: Report, commands: Callable[[str], str]) -> str:
    """The report as a table for the documentation; `commands(key)` names the command of a figure."""
    about = "; ".join(f"{name} {value}" for name, value in report.machine.items())
    packages = ", ".join(f"{name} {value}" for name, value in report.versions.items())
    lines = [f"Machine: {about}.", "", f"Versions: {packages}.", ""]
    lines += ["| figure | value | goal | met | command |", "| --- | --- | --- | --- | --- |"]
    for item in report.figures:
        title = f"{item.title}<br>{item.note}" if item.note else item.title
        command = f"`{commands(item.key)}`"
        lines.append(f"| {title} | {item.shown} | {item.shown_goal} | {item.verdict} | {command} |")
    return "\n".join(lines) + "\n"


def run_module(measure: Callable[[bool], list[Figure]], about: str) -> int:
    """The command line that every CPU measure has: a table on stdout, the same as JSON in a file."""
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the report as JSON")
    parser.add_argument("--quick", action="store_true", help="fewer repeats: does it work at all?")
    args = parser.parse_args()
    # A user's second start finds compiled modules; without them every start would compile ours again.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    report = Report(machine(), versions())
    report.figures.extend(measure(args.quick))
    print(table(report.figures))
    if args.json is not None:
        args.json.write_text(report.to_json())
    sys.stdout.flush()
    return 0
