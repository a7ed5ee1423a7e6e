"""`python -m benchmarks [NAME...]`: CPU measures, each in its own process; a table, JSON, the docs' page."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.figures import Report, machine, markdown, read_report, table, versions
from benchmarks.gpu_report import gpu_markdown

ROOT = Path(__file__).parents[1]
NAMES = ("paint", "traffic", "loop_overhead", "launch")
# A figure's key begins with this word; the rest is the measure's own.
_MODULES = {"paint": "paint", "traffic": "traffic", "loop": "loop_overhead", "launch": "launch"}


def command_of(key: str) -> str:
    """The command that measures the figure with this key."""
    return f"python -m benchmarks {_MODULES[key.partition('.')[0]]}"


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


def run_all(names: list[str], quick: bool) -> Report:
    """All measures, one after the other."""
    report = Report(machine(), versions())
    for name in names:
        print(f"measuring {name} ...", file=sys.stderr, flush=True)
        report.figures.extend(run_one(name, quick).figures)
    return report


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
    parser.add_argument("--from", dest="source", type=Path, metavar="FILE", help="show a JSON report again")
    parser.add_argument("--markdown", action="store_true", help="print the table as Markdown")
    parser.add_argument("--gpu", type=Path, metavar="FILE", help="the JSON of `make gpu-bench`, for --into")
    parser.add_argument("--into", type=Path, metavar="DOC", help="replace the tables in this page")
    args = parser.parse_args(arguments)
    if unknown := sorted(set(args.names) - set(NAMES)):
        parser.error(f"unknown measure: {', '.join(unknown)}; there are {', '.join(NAMES)}")
    report = (
        read_report(args.source.read_text())
        if args.source
        else run_all(args.names or list(NAMES), args.quick)
    )
    if args.json is not None:
        args.json.write_text(report.to_json())
    page = markdown(report, command_of)
    print(page if args.markdown else table(report.figures))
    if args.into is not None:
        gpu = gpu_markdown(json.loads(args.gpu.read_text()) if args.gpu else None)
        text = put_between(put_between(args.into.read_text(), "figures", page), "gpu", gpu)
        args.into.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
