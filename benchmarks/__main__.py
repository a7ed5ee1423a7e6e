"""`python -m benchmarks [NAME...]`: CPU measures, each in its own process; a table, JSON, the docs' page."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.figures import Figure, Report, machine, markdown, read_report, table, versions
from benchmarks.gpu_report import gpu_markdown

ROOT = Path(__file__).parents[1]
NAMES = ("paint", "traffic", "loop_overhead", "direct_forward", "caching", "launch", "saving", "forecast")
# A figure's key begins with this word; the rest is the measure's own.
_MODULES = {
    "paint": "paint",
    "traffic": "traffic",
    "loop": "loop_overhead",
    "direct": "direct_forward",
    "caching": "caching",
    "launch": "launch",
    "forecast": "forecast",
    "saving": "saving",
}


def module_of(key: str) -> str:
    """The measure that the figure with this key belongs to."""
    return _MODULES[key.partition(".")[0]]


def command_of(key: str) -> str:
    """The command that measures it."""
    return f"python -m benchmarks {module_of(key)}"


def run_one(name: str, quick: bool) -> Report:
    """One measure in a fresh process with one thread."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "report.json"
        argv = [
            sys.executable,
            "-m",
            f"benchmarks.{name}",
            "--json",
            str(out),
            *(["--quick"] if quick else []),
        ]
        env = os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "TQDM_DISABLE": "1"}
        subprocess.run(argv, check=True, cwd=ROOT, env=env, stdout=subprocess.DEVNULL)
        return read_report(out.read_text())


def renewed(report: Report, name: str, figures: list[Figure]) -> Report:
    """The report with this measure's figures replaced, or added at their place in the order of NAMES."""
    found = {other: [item for item in report.figures if module_of(item.key) == other] for other in NAMES}
    found[name] = figures
    return Report(report.machine, report.versions, [item for other in NAMES for item in found[other]])


def put_between(text: str, name: str, body: str) -> str:
    """`text` with what stands between `<!-- NAME:begin -->` and `<!-- NAME:end -->` replaced.

    ValueError where the marks are missing.
    """
    begin, end = f"<!-- {name}:begin -->\n", f"<!-- {name}:end -->"
    head, found, rest = text.partition(begin)
    _, closed, tail = rest.partition(end)
    if not found or not closed:
        raise ValueError(f"there are no marks for {name}")
    return f"{head}{begin}{body}{end}{tail}"


def main(arguments: list[str]) -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"{', '.join(NAMES)}; none: all")
    parser.add_argument("--quick", action="store_true", help="few repeats: does it work at all?")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the report as JSON")
    parser.add_argument(
        "--from", dest="source", type=Path, metavar="FILE", help="show a report again; with NAME, renew those"
    )
    parser.add_argument("--markdown", action="store_true", help="print the table as Markdown")
    parser.add_argument("--gpu", type=Path, metavar="FILE", help="the JSON of `make gpu-bench`, for --into")
    parser.add_argument("--into", type=Path, metavar="DOC", help="replace the tables in this page")
    args = parser.parse_args(arguments)
    if unknown := sorted(set(args.names) - set(NAMES)):
        parser.error(f"unknown measure: {', '.join(unknown)}; there are {', '.join(NAMES)}")
    report = read_report(args.source.read_text()) if args.source else Report(machine(), versions())
    for name in args.names or ([] if args.source else NAMES):
        print(f"measuring {name} ...", file=sys.stderr, flush=True)
        report = renewed(report, name, run_one(name, args.quick).figures)
        if args.json is not None:
            args.json.write_text(report.to_json())  # after each: a measure that breaks takes no other with it
    page = markdown(report, command_of)
    print(page if args.markdown else table(report.figures))
    if args.into is not None:
        gpu = gpu_markdown(json.loads(args.gpu.read_text()) if args.gpu else None)
        text = put_between(put_between(args.into.read_text(), "figures", page), "gpu", gpu)
        args.into.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
