"""What the learning tests share: the plan of a method's demo, trained, and pictures of prompts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from torch import nn

from engine.demo.prepare import prepare
from engine.demo.score import draw_prompts
from engine.demo.world import Picture
from engine.planning.build import build, gather
from tests.support.sessions import Prepared, prepared

SEED = 700


def lesson(method: str, folder: Path, **changes: object) -> Prepared:
    """The plan of `sdtrain demo METHOD`, adapted to run on one thread and without previews."""
    answers = {**prepare(folder / "demo", method), "hardware.device": "cpu", "samples.every": 0, **changes}
    return prepared(build(answers, gather(answers)).plan, folder / "cache")


class Resting:
    """Dropout off and averaged weights in, as previews are drawn; afterwards all is as it was."""

    def __init__(self, made: Prepared) -> None:
        parts = made.adapted.family.parts.values()
        self.modules: list[nn.Module] = [*parts, *made.adapted.method.modules().values()]
        self.averaged = made.loop.averaged()

    def __enter__(self) -> None:
        self.states = [module.training for module in self.modules]
        for module in self.modules:
            module.eval()
        self.averaged.__enter__()

    def __exit__(self, *reason: object) -> None:
        self.averaged.__exit__(None, None, None)
        for module, training in zip(self.modules, self.states, strict=True):
            module.train(training)


def drawn(made: Prepared, prompts: Sequence[str]) -> list[Picture]:
    """One picture a prompt with the model as it is now."""
    with Resting(made):
        return draw_prompts(made.adapted.family, prompts, SEED)
