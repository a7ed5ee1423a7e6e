"""`python -P -m engine.train RUN_DIR`: the worker; the supervisor starts it."""

from __future__ import annotations

import gc
import sys
from pathlib import Path

from engine.run import lifeline
from engine.run.place import settle


def main(arguments: list[str]) -> int:
    """Bind to the supervisor's life first; only then load what is slow."""
    lifeline.bind()
    # Imports make a million objects that live for ever: looking them over for garbage took 0.6 s of 4.3.
    gc.disable()
    from engine.worker.session import work

    gc.freeze()
    gc.enable()
    return work(settle(Path(arguments[0])))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
