"""The GPU figures as tables for the documentation, from the JSON of `python -m benchmarks.gpu`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from benchmarks.figures import number

NOT_MEASURED = "not measured"
GOAL_MFU = 0.30
_TITLES = (
    "images/s at batch {b}",
    "MFU at batch {b}",
    "peak memory at batch {b}, reserved / allocated",
)


def gpu_markdown(result: Mapping[str, Any] | None) -> str:
    """Two columns, a row a figure; without a result every figure reads "not measured"."""
    lines = ["| figure | value | goal |", "| --- | --- | --- |"]
    if result is None:
        rows = [(title.format(b="1, 4, 8, 16, 32"), "") for title in _TITLES]
        rows[1] = (rows[1][0], "≥ 30 % at the best batch")
        rows += [("host syncs a step", "0"), ("killed and resumed against uninterrupted", "bit-equal")]
        return "\n".join([*lines, *(f"| {title} | {NOT_MEASURED} | {goal} |" for title, goal in rows)]) + "\n"
    about = f"{result['device']}, CUDA {result['cuda']}, torch {result['versions']['torch']}; {result['seconds']:.0f} s"
    for row in result["throughput"]:
        cells = (f"{number(row['images_per_s'])} images/s", _percent(row["mfu"]), _memory(row))
        for title, cell in zip(_TITLES, cells, strict=True):
            goal = "≥ 30 % at the best batch" if title.startswith("MFU") else ""
            lines.append(f"| {title.format(b=row['batch'])} | {cell} | {goal} |")
    lines.append(f"| host syncs a step | {_syncs(result['host_syncs'])} | 0 |")
    lines.append(f"| killed and resumed against uninterrupted | {_resume(result['resume'])} | bit-equal |")
    return "\n".join([f"{about}.", "", *lines]) + "\n"


def _percent(share: float | None) -> str:
    return NOT_MEASURED if share is None else f"{100 * share:.1f} %"


def _memory(row: Mapping[str, Any]) -> str:
    if row["peak_reserved_bytes"] is None:
        return NOT_MEASURED
    return f"{row['peak_reserved_bytes'] / 2**30:.2f} / {row['peak_allocated_bytes'] / 2**30:.2f} GiB"


def _syncs(found: Mapping[str, Any] | None) -> str:
    if found is None:
        return NOT_MEASURED
    where = ", ".join(f"{place} {count}x" for place, count in found["where"].items())
    return f"{number(found['per_step'])} over {found['steps']} steps ({where})"


def _resume(found: Mapping[str, Any]) -> str:
    if found["losses_equal"] and found["weights_equal"]:
        return f"bit-equal over {found['steps']} steps, killed after {found['killed_after']}"
    return f"losses differ by {found['max_loss_difference']:.2g}, weights by {found['max_weight_difference']:.2g}"
