"""Trains a LoRA from Python: `python examples/train_lora.py [PICTURES] [--base MODEL] [--steps N] [--out FOLDER]`.

Without PICTURES it draws a few of its own and teaches them to the built-in tiny model, on any CPU in a minute.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from engine import StepReport, UserError, Watch, load_plan, open_training


class Lines(Watch):
    """Prints what happens, one line each."""

    def phase(self, phase: str, text: str = "") -> None:
        print(f"{phase} {text}".strip(), flush=True)

    def report(self, report: StepReport) -> None:
        print(f"step {report.step} loss {report.loss:.4f} lr {report.lr:.2e}", flush=True)


def own_pictures() -> Path:
    """A folder of pictures with captions beside them, as a user's would be."""
    from engine.demo.world import write_world

    folder = Path(tempfile.mkdtemp(prefix="train-lora-"))
    write_world(folder, 8)
    return folder


def main() -> int:
    """Train, draw one picture, write the files."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("pictures", type=Path, nargs="?", help="a folder; captions lie beside the pictures")
    parser.add_argument("--base", default="builtin:tiny", help="a model's folder, file or hub id")
    parser.add_argument("--resolution", type=int, default=64, help="512 for SD 1.x, 1024 for SDXL")
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--out", type=Path, default=Path("lora-run"), help="the run's folder")
    given = parser.parse_args()
    try:
        plan = load_plan(
            {
                "name": "my-lora",
                "method": "lora",
                "base": {"model": given.base},
                "data": {"path": str(given.pictures or own_pictures()), "resolution": given.resolution},
                "train": {"steps": given.steps, "batch_size": 4, "learning_rate": 1e-3},
                "lora": {"rank": 8, "alpha": 8.0},
            }
        )
        with open_training(plan, given.out, watch=Lines()) as training:
            training.train()
            training.preview().save(given.out / "preview.png")
            print("checkpoint", training.save())
            for path in training.export():
                print("exported", path)
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
