"""Asks a process of its own what a pickled file holds: that takes torch to read, and this one stays light."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

from engine import process
from engine.errors import UserError

# A bound and no measurement: a disk that does not answer must not hold the wizard for ever.
LOOK_S = 300.0


def look_apart(module: str, path: Path) -> dict[str, Any]:
    """What `python -m MODULE FILE` prints as one line of JSON; UserError for what it cannot read.

    An answer {"error": {what, why, fix}} is that error.
    """
    try:
        done = subprocess.run(
            process.command(module, str(path)),
            capture_output=True,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            check=False,
            timeout=LOOK_S,
        )
    except subprocess.TimeoutExpired:
        why = f"nothing was known of it after {LOOK_S:.0f} s: the file is very large or its disk is slow"
        fix = "use the .safetensors file of the same model, or try again once the disk answers"
        raise UserError(f"{path} could not be looked at", why, fix) from None
    try:
        answer: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    except (ValueError, IndexError):
        last = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        lacking = "No module named" in last
        raise UserError(
            f"{path} could not be looked at",
            "".join(char for char in last if char.isprintable()),
            "it is a pickle, which takes torch to read: install torch, or use the .safetensors file of the same model"
            if lacking
            else "use the .safetensors file of the same model",
        ) from None
    if "error" in answer:
        raise UserError(**answer["error"])
    return answer
