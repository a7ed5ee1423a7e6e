"""`sdtrain list`: every run on one line, the newest activity first."""

from __future__ import annotations

import argparse
import time

from engine.run.listing import RunSummary, summaries
from sdtrain_tui.codes import DONE
from sdtrain_tui.commands.texts import ago, clean, number, print_json, table


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(args: argparse.Namespace) -> int:
    runs = summaries()
    if args.json:
        print_json(runs)
    elif runs:
        now = time.time()
        best = any(item.best_step is not None for item in runs)
        titles = ("run", "state", "method", "step", "loss", *(("best step",) if best else ()), "last event")
        rows = [titles, *(_row(item, now, best) for item in runs)]
        print("\n".join(table(rows, right=frozenset({3, 4, *((5,) if best else ())}))))
    else:
        print("there are no runs yet; start with: sdtrain new")
    return DONE


def _row(item: RunSummary, now: float, best: bool) -> tuple[str, ...]:
    steps = f"{item.step}/{item.total}" if item.total else "-"
    lowest = ("-" if item.best_step is None else str(item.best_step),) if best else ()
    told = (clean(item.name), item.state, clean(item.method), steps, number(item.loss))
    return (*told, *lowest, ago(now - item.updated))
