"""`python -P -m engine.train RUN_DIR`: the worker; the supervisor starts it."""

from __future__ import annotations

import sys
from pathlib import Path

from engine.run import lifeline
from engine.run.paths import RunDir


def main(arguments: list[str]) -> int:
    """Bind to the supervisor's life first; only then load what is slow."""
    lifeline.bind()
    from engine.train.worker import work

    return work(RunDir(Path(arguments[0])))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
