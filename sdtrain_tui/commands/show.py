"""`sdtrain show RUN`: one run in detail."""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping
from typing import Any

from engine.plan.units import duration, size_text
from engine.run.follow import Follower
from engine.run.lock import is_alive
from engine.run.paths import RunDir, find_run
from engine.run.view import PreviewInfo, RunView, eta_s, state
from sdtrain_tui.codes import DONE
from sdtrain_tui.commands.texts import clean, number, print_json, short, when

RECENT = 5


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", metavar="RUN", help="its name, its folder, or a part of either")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(args: argparse.Namespace) -> int:
    found = find_run(args.run)
    alive = is_alive(found)
    view = Follower(found).catch_up()
    now = time.time()
    current = state(view, alive, now)
    left = eta_s(view, now) if alive else None
    if args.json:
        print_json(as_json(found, view, current, left))
    else:
        print("\n".join(lines(found, view, current, left)))
    return DONE


def as_json(run: RunDir, view: RunView, current: str, left: float | None) -> dict[str, Any]:
    """Everything about the run except the series of its steps, which `events.jsonl` holds."""
    names = (
        "method family device host version torch plan_hash pid total_steps step loss lr grad_norm images_per_s "
        "epoch skipped_steps phase phase_text progress started_at last_event_at restarts failed finished stopped "
        "paused"
    )
    return {
        "name": run.name,
        "path": run.path,
        "state": current,
        "eta_s": left,
        **{name: getattr(view, name) for name in names.split()},
        "trainables": list(view.trainables),
        "samples": list(view.previews),
        "validations": list(view.validations),
        "best": view.best,
        "checkpoints": [
            {**_plain(item), "there": (run.path / item.path).exists()} for item in view.checkpoints
        ],
        "exports": list(view.exports),
        "warnings": list(view.warnings),
    }


def _plain(item: Any) -> dict[str, Any]:
    return {name: getattr(item, name) for name in item.__dataclass_fields__}


def _nearness(item: PreviewInfo) -> str:
    if item.to_prompt is None:
        return ""
    return f" (CLIP: prompt {number(item.to_prompt)}, pictures {number(item.to_pictures)})"


def _validation(view: RunView) -> str:
    if not view.validations:
        return ""
    last = view.validations[-1]
    if last.error:
        return f"failed at step {last.step}: {last.error}"
    best = f", lowest {number(view.best[1])} at step {view.best[0]}" if view.best is not None else ""
    raw = f", {number(last.raw)} without average" if last.raw is not None else ""
    return f"loss {number(last.loss)} at step {last.step}{raw}{best}; timesteps {_numbers(last.bands)}"


def _numbers(found: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {number(value)}" for name, value in found.items())


def lines(run: RunDir, view: RunView, current: str, left: float | None) -> list[str]:
    """The run for a person."""
    rows = [
        ("run", run.name),
        ("folder", str(run.path)),
        ("state", current + (f", about {duration(left)} left" if left else "")),
        ("what", " ".join(part for part in (view.method, "on", view.family, view.device) if part)),
        (
            "step",
            f"{view.step} of {view.total_steps}"
            + (f", {view.skipped_steps} skipped" if view.skipped_steps else ""),
        ),
        ("loss", f"{number(view.loss)}, rate {number(view.lr)}, gradient norm {number(view.grad_norm)}"),
        ("validation", _validation(view)),
        ("signals", _numbers(view.validations[-1].signals) if view.validations else ""),
        ("speed", f"{number(view.images_per_s)} pictures a second"),
        ("started", when(view.started_at)),
        ("last event", when(view.last_event_at)),
    ]
    rows += [("trains", f"{item.module}: {item.parameters:,} parameters") for item in view.trainables]
    there = [item for item in view.checkpoints if (run.path / item.path).exists()]
    rows += [("checkpoint", f"step {item.step}: {item.path} ({size_text(item.bytes)})") for item in there]
    rows += [
        ("preview", f"step {item.step}: {item.path or item.error}{_nearness(item)}")
        for item in list(view.previews)[-RECENT:]
    ]
    rows += [
        ("export", f"{item.format}: {run.path / item.path} ({size_text(item.bytes)})")
        for item in view.exports
    ]
    rows += [("warning", item.text) for item in list(view.warnings)[-RECENT:]]
    if view.failed is not None:
        rows += [("failed", view.failed.what), ("why", view.failed.why), ("fix", view.failed.fix)]
    return [short(clean(f"{label:<11} {text}")) for label, text in rows if text]
