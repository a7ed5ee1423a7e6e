"""`python -P -m engine.export RUN_DIR --format F [--step N] [--weights W] [--out FILE]`: a checkpoint as a file of
another format.

Prints JSON lines: `{"kind": "exported", ...}` when the file was read back and compared.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from engine.errors import UserError
from engine.export.registry import get_format
from engine.plan.files import load_stored
from engine.planning.data import scan_data, trained_on
from engine.run.paths import RunDir
from engine.train import checkpoint
from engine.train.ema import Ema
from engine.train.exporting import EMA, export_one, learned, started_at, target
from engine.train.setup import load_plan_family, prepare
from engine.worker.library_logs import silence


def main(arguments: Sequence[str]) -> int:
    """0, or 2 with the reason on stderr."""
    parser = argparse.ArgumentParser(prog="python -m engine.worker.export", description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("--format", required=True)
    parser.add_argument("--step", type=int)
    parser.add_argument("--weights", choices=("ema", "raw", "both"))
    parser.add_argument("--out", type=Path)
    given = parser.parse_args(arguments)
    try:
        return _export(RunDir(given.run), given.format, given.step, given.weights, given.out)
    except UserError as error:
        print("\n".join(error.lines()), file=sys.stderr)
    except OSError as error:
        print(
            f"cannot write the file\nwhy: {error}\nfix: check the folder and the free space", file=sys.stderr
        )
    return 2


def _export(run: RunDir, name: str, step: int | None, weights: str | None, out: Path | None) -> int:
    silence()
    get_format(name)
    plan, _ = load_stored(run.plan_file)
    asked = weights or plan.output.weights
    saved = choose(run, step)
    adapted = prepare(plan, load_plan_family(plan), torch.device("cpu"))
    checkpoint.load_weights(saved, adapted.trainables)
    averages = checkpoint.load_averages(saved)
    _refuse(weights, averages is not None, out)
    ema = None if averages is None else Ema(adapted.trainables, plan.train.ema, averages)
    items = trained_on(plan, scan_data(plan))
    label = "" if step is None else f"-{saved.step:08d}"
    for which, artifact in learned(adapted, asked, None if ema is None else ema.averaged):
        to = out or target(plan, name, run.exports, which, label)
        to.parent.mkdir(parents=True, exist_ok=True)
        done = export_one(
            plan, adapted, artifact, name, saved.step, to, items, out is None, which, started_at(run)
        )
        for one in done.files:
            record = {"format": one.format, "path": str(one.path), "bytes": one.bytes, "tensors": one.tensors}
            record["opens_in"] = one.opens_in
            print(
                json.dumps({"kind": "exported", "step": saved.step, "weights": which, **record}), flush=True
            )
    return 0


def _refuse(weights: str | None, averages: bool, out: Path | None) -> None:
    if weights in (EMA, "both") and not averages:
        raise UserError(
            "this run has no averaged weights", "train.ema was 0 in its plan", "leave --weights out"
        )
    if weights == "both" and out is not None:
        raise UserError(
            "one file cannot hold both kinds of weights", fix="leave the file's name out, or ask for one kind"
        )


def choose(run: RunDir, step: int | None) -> checkpoint.Saved:
    """The checkpoint of a step, or the newest whole one."""
    found = checkpoint.complete(run.checkpoints)
    if step is not None:
        for saved in found:
            if saved.step == step:
                if problem := checkpoint.verify(saved):
                    raise UserError(
                        f"the checkpoint of step {step} is damaged", problem, "choose another step"
                    )
                return saved
        steps = ", ".join(str(saved.step) for saved in found) or "none"
        raise UserError(
            f"{run.name} has no checkpoint of step {step}", f"there are: {steps}", "choose one of these"
        )
    newest, _ = checkpoint.latest(run.checkpoints)
    if newest is None:
        raise UserError(
            f"{run.name} has no checkpoint yet", "nothing was saved so far", f"sdtrain save {run.name}"
        )
    return newest


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
