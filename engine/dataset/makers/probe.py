"""Run as a process: makes one map of a kind, and says as a line of JSON why it could not."""

import json
import sys
from importlib import import_module
from pathlib import Path

import numpy as np

from engine.dataset.annotators import KINDS, reason

SIDE = 64


def main(kind: str, *folders: str) -> int:
    """0 when a map of the right size came out, else 1."""
    picture = np.zeros((SIDE, SIDE, 3), dtype=np.uint8)
    picture[SIDE // 4 : -SIDE // 4, SIDE // 4 : -SIDE // 4] = 255
    try:
        made = import_module(KINDS[kind].module).load([Path(folder) for folder in folders])(picture)
        if made.shape != picture.shape or made.dtype != np.uint8:
            raise ValueError(f"a map of {made.shape} came out for a picture of {picture.shape}")
    except Exception as error:  # noqa: BLE001 - whatever it is, it would end the run
        print(json.dumps({"error": reason(error)}))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
