"""`sdtrain export RUN --format F`: write what a run has learnt in another format, from any kept checkpoint."""

from __future__ import annotations

import argparse
import difflib
from pathlib import Path

from engine.errors import UserError
from engine.files import expanded
from engine.plan.units import size_text
from engine.run.paths import RunDir, find_run
from sdtrain_tui.codes import DONE
from sdtrain_tui.commands.child import Record, run_module
from sdtrain_tui.commands.start import need_torch
from sdtrain_tui.commands.texts import clean, print_json, writable_name


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", metavar="RUN", help="its name, its folder, or a part of either")
    parser.add_argument("--format", required=True, metavar="F", help="the format, as in output.formats")
    parser.add_argument(
        "--step", type=int, metavar="N", help="the checkpoint of this step (default: the last)"
    )
    parser.add_argument(
        "--weights",
        choices=("ema", "raw", "both"),
        help="of a run with averages: those, the step's own, or both (default: as output.weights says)",
    )
    parser.add_argument(
        "-o", "--output", type=Path, metavar="FILE", help="the file (default: in the run's export folder)"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(args: argparse.Namespace) -> int:
    writable_name("-o", args.output)
    found = find_run(args.run)
    _refuse_format(found, args.format)
    need_torch()
    words = [str(found.path), "--format", args.format]
    words += [] if args.step is None else ["--step", str(args.step)]
    words += [] if args.weights is None else ["--weights", args.weights]
    words += [] if args.output is None else ["--out", str(expanded(args.output).absolute())]
    records = run_module("engine.worker.export", *words, on_line=None if args.json else _tell)
    exported = [record for record in records if record.get("kind") == "exported"]
    if not exported:
        raise UserError("nothing was exported", "the exporter said nothing", f"see {found.log_file}")
    if args.json:
        print_json({"run": found.name, "exported": exported})
    return DONE


def _refuse_format(run: RunDir, name: str) -> None:
    """UserError, before anything is loaded, for a format that the run's method is not written in."""
    from engine.plan.files import load_stored
    from engine.plan.methods import METHODS

    plan, _ = load_stored(run.plan_file)
    spec = METHODS[plan.method]
    fitting = [each for each in spec.formats if not plan.options.format_obstacle(each)]
    if name in fitting:
        return
    close = difflib.get_close_matches(name, fitting, n=1, cutoff=0.5)
    why = f"{spec.title} is written as {', '.join(spec.formats)}"
    if name in spec.formats:
        why = plan.options.format_obstacle(name)
    raise UserError(
        f"{run.name} cannot be exported as {name!r}",
        why,
        f"did you mean {close[0]!r}?" if close else f"choose from {', '.join(fitting)}",
    )


def _tell(record: Record) -> None:
    if record.get("kind") == "exported":
        print(clean(f"{record.get('path')} ({size_text(float(record.get('bytes') or 0))})"))
        if readers := record.get("opens_in"):
            print(clean(f"opens in {', '.join(readers)}"))
    elif record.get("text"):
        print(clean(str(record["text"])))
