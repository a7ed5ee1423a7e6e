"""`python -m benchmarks.screenshots RUN PICTURES`: the README's pictures of monitor and wizard, made by the app."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

from engine.run.paths import find_run
from sdtrain_tui.app import SdtrainApp

SIZE = (120, 36)
DOCS = Path(__file__).resolve().parents[1] / "docs"


async def monitor(run: str) -> None:
    """The monitor of a run that has pictures."""
    app = SdtrainApp(start="monitor", run=find_run(run))
    async with app.run_test(size=SIZE) as pilot:
        await pilot.pause(4.0)
        app.save_screenshot("monitor.svg", str(DOCS))


async def wizard(pictures: str) -> None:
    """The wizard's recipe step for a folder of pictures."""
    answers: dict[str, object] = {"method": "lora", "base.model": "builtin:tiny", "data.path": pictures}
    app = SdtrainApp(start="wizard", answers=answers)
    async with app.run_test(size=SIZE) as pilot:
        await pilot.pause(2.0)
        for _ in range(3):
            await pilot.press("ctrl+n")
            await pilot.pause(1.5)
        app.save_screenshot("wizard.svg", str(DOCS))


if __name__ == "__main__":
    # The pictures shall not depend on the terminal that makes them.
    os.environ |= {"TERM": "xterm-256color", "COLORTERM": "truecolor"}
    asyncio.run(monitor(sys.argv[1]))
    asyncio.run(wizard(sys.argv[2]))
