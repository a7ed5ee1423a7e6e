"""`python -m benchmarks.real_size`: the engine at real size once, on random weights.

Writes an SD 1.5 of the published architecture as a diffusers folder and as one file, then plans, checks, trains two
steps of a LoRA on each and exports; prints time and peak memory as JSON. Needs about 6 GB of disk and 8 GB of memory.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from engine.demo.recipe import MODEL_INDEX
from engine.demo.tokenizer import write_tokenizer
from engine.families.single_file import write_single_file
from engine.families.weights import model_class
from engine.models.keymap_text import with_level
from engine.models.published import published
from engine.models.single_file_config import parts_of
from engine.models.specs import FAMILIES
from tests.support.pictures import write_pictures

FAMILY = "sd1"


def random_parts(seed: int) -> dict[str, torch.nn.Module]:
    """Every part in its published size with weights that keep activations finite."""
    torch.manual_seed(seed)
    parts: dict[str, torch.nn.Module] = {}
    for part in parts_of(FAMILY):
        kind, config = model_class(FAMILIES[FAMILY], part), published(FAMILY, part)
        if part.startswith("text_encoder"):
            parts[part] = kind(kind.config_class(**config))
        else:
            parts[part] = kind.from_config(config)
    return parts


def write_models(work: Path) -> tuple[Path, Path]:
    """The same random model as a folder and as a single file beside its tokenizer."""
    folder, single = work / "sd15", work / "sd15.safetensors"
    parts = {name: part.half() for name, part in random_parts(0).items()}
    states: dict[str, Any] = {}
    for name, part in parts.items():
        state = part.state_dict()
        states[name] = with_level(state) if name.startswith("text_encoder") else state
        part.save_pretrained(folder / name)  # type: ignore[operator]
    write_tokenizer(folder / "tokenizer")
    write_tokenizer(work / "tokenizer")
    (folder / "scheduler").mkdir(exist_ok=True)
    scheduler = {"_class_name": "DDIMScheduler", **published(FAMILY, "scheduler")}
    (folder / "scheduler" / "scheduler_config.json").write_text(json.dumps(scheduler))
    (folder / "model_index.json").write_text(json.dumps(MODEL_INDEX))
    configs = {name: published(FAMILY, name) for name in (*parts, "scheduler")}
    write_single_file(single, FAMILY, states, configs)
    return folder, single


def sdtrain(*arguments: str) -> str:
    """The command's output; fails with what it said."""
    done = subprocess.run(
        [sys.executable, "-P", "-m", "sdtrain_tui", *arguments], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(f"sdtrain {' '.join(arguments)}: exit {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


def train_once(base: Path, pictures: Path, work: Path, side: int) -> dict[str, object]:
    """Plan, check, train two steps and export, through the commands; seconds and the engine's peak memory."""
    name = f"real-{'folder' if base.is_dir() else 'file'}"
    plan = work / f"{name}.toml"
    sets = {
        "samples.every": "0",
        "train.steps": "2",
        "train.batch_size": "1",
        "data.resolution": str(side),
        "hardware.device": "cpu",
        "output.formats": '["kohya", "diffusers"]',
    }
    given = [word for key, value in sets.items() for word in ("--set", f"{key}={value}")]
    sdtrain(
        "new",
        "--name",
        name,
        "--base",
        str(base),
        "--data",
        str(pictures),
        "-o",
        str(plan),
        "--force",
        *given,
    )
    sdtrain("check", str(plan))
    forecast = json.loads(sdtrain("estimate", str(plan), "--json"))
    began = time.monotonic()
    sdtrain("run", str(plan), "--plain", "--dir", str(work / name))
    shown = json.loads(sdtrain("show", str(work / name), "--json"))
    return {
        "base": name,
        "seconds": round(time.monotonic() - began, 1),
        "peak_memory_gib": round(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20, 2),
        "forecast_gib": round(forecast.get("vram_total", 0) / 2**30, 2),
        "state": shown["state"],
        "exports": [Path(str(export["path"])).name for export in shown["exports"]],
    }


def main() -> None:
    """Both forms of the model, one after the other."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--side", type=int, default=64, help="resolution in pixels")
    parser.add_argument("--work", type=Path, help="where models and runs go (default: a temporary folder)")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="real-size-") as temporary:
        work = given.work or Path(temporary)
        work.mkdir(parents=True, exist_ok=True)
        os.environ.setdefault("SDTRAIN_HOME", str(work / "home"))
        folder, single = write_models(work)
        pictures = write_pictures(work / "pictures", count=4, side=given.side)
        found = [train_once(base, pictures, work, given.side) for base in (folder, single)]
        print(json.dumps({"side": given.side, "torch": torch.__version__, "runs": found}, indent=1))


if __name__ == "__main__":
    main()
