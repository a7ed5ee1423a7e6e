"""The small workload that the CPU measures share: a random SD 1.x model, some pictures, a plan, a run."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from engine.plan.files import dumps, from_dict
from engine.plan.methods import METHODS
from engine.plan.overrides import put
from engine.run.create import create_run
from engine.run.events import EventReader
from engine.run.paths import RunDir

if TYPE_CHECKING:
    from engine.plan.schema import Plan

Event = dict[str, Any]
DEFAULTS: dict[str, object] = {
    "name": "bench",
    "seed": 11,
    "data.resolution": 64,
    "train.batch_size": 4,
    "train.learning_rate": 1e-4,
    "train.precision": "fp32",
    "lora.rank": 16,
    "samples.every": 0,
    "checkpoints.every": 0,
    "hardware.device": "cpu",
    "hardware.threads": 1,
}


@contextmanager
def fresh_home() -> Iterator[Path]:
    """A temporary SDTRAIN_HOME, so that no run or cache of the user's is seen or touched."""
    before = os.environ.get("SDTRAIN_HOME")
    folder = Path(tempfile.mkdtemp(prefix="sdtrain-bench-"))
    os.environ["SDTRAIN_HOME"] = str(folder)
    try:
        yield folder
    finally:
        if before is None:
            del os.environ["SDTRAIN_HOME"]
        else:
            os.environ["SDTRAIN_HOME"] = before
        shutil.rmtree(folder, ignore_errors=True)


def write_model(folder: Path, seed: int = 0) -> Path:
    """SD 1.x's layout with the widths of the built-in model (UNet 3.4 M parameters) and random weights."""
    import torch

    from engine.demo.recipe import new_text_encoder, new_unet, write_folder
    from engine.demo.vae import new_vae

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        write_folder(folder, new_unet(), new_vae(), new_text_encoder())
    return folder


def write_pictures(folder: Path, count: int = 16, side: int = 64) -> Path:
    """`count` random pictures with captions."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    for index in range(count):
        pixels = rng.integers(0, 255, (side, side, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{index:03d}.png")
        (folder / f"{index:03d}.txt").write_text(f"picture number {index}")
    return folder


def make_plan(
    model: Path | str, pictures: Path, defaults: Mapping[str, object] = DEFAULTS, /, **changes: object
) -> Plan:
    """A LoRA plan of `defaults`; `changes` name fields with `__` for the dot.

    Defaults in the table of a method that is not the plan's are left out.
    """
    data: dict[str, Any] = {}
    named = {key.replace("__", "."): value for key, value in changes.items()}
    others = METHODS.keys() - {named.get("method", "lora")}
    fitting = {key: value for key, value in defaults.items() if key.partition(".")[0] not in others}
    for key, value in {**fitting, "base.model": str(model), "data.path": str(pictures), **named}.items():
        put(data, key, value)
    return from_dict(data)


def new_run(plan: Plan) -> RunDir:
    """A new run directory below SDTRAIN_HOME."""
    return create_run(dumps(plan), plan.name)


def events_of(run: RunDir) -> list[Event]:
    """Everything that the run has said so far."""
    reader, found = EventReader(run.events_file), []
    while events := reader.poll():
        found += events
    return found


def wait_until(condition: Callable[[], bool], seconds: float = 120.0, what: str = "condition") -> None:
    """Poll at 200 Hz until it holds; RuntimeError after a deadline that only a broken run reaches."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise RuntimeError(f"waited {seconds:.0f} s for {what}")
        time.sleep(0.005)
