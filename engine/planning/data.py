"""The one place where a plan's folder is scanned: check, forecast, training and exports see the same pictures."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from engine.dataset.report import DatasetReport
from engine.dataset.scan import scan
from engine.plan.schema import Data, Plan


def scan_data(plan: Plan) -> DatasetReport:
    """The plan's pictures; UserError for a resolution that is no multiple of 8."""
    return scan_folder(plan.data, plan.data.path, plan.data.trigger, plan.folders_apart)


def scan_folder(
    data: Data, folder: str | Path, trigger: str = "", without: Collection[Path] = ()
) -> DatasetReport:
    """Another folder of pictures, looked at as the plan's own is; `without` are folders inside to pass over."""
    return scan(
        Path(folder).expanduser(),
        resolution=data.resolution,
        trigger=trigger,
        bucket=data.bucket,
        recursive=data.recursive,
        without=without,
    )
