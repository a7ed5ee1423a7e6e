"""What the learning tests of words and styles share: the demo's plan, trained, and pictures before and after."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from engine.demo import styles, world
from engine.demo.prepare import prepare
from engine.demo.score import contact_sheet, draw_prompts, mean_score
from engine.demo.world import Picture
from engine.families.base import ModelFamily
from engine.plan.build import build, gather
from tests.support.sessions import Prepared, prepared, run_steps

SEED = 700
STYLED = [
    f"zil style, a {colour} {shape}" for shape in ("star", "heart", "ring") for colour in world.COLOURS
][:24]
PLAIN = [prompt.removeprefix("zil style, ") for prompt in STYLED[::3]]


def trained(method: str, folder: Path, **changes: object) -> Prepared:
    """The plan of `sdtrain demo METHOD`, on one thread and without previews, not yet run."""
    answers = {**prepare(folder / "demo", method), "hardware.device": "cpu", "samples.every": 0, **changes}
    return prepared(build(answers, gather(answers)).plan, folder / "cache")


def drawn(made: Prepared, prompts: Sequence[str]) -> list[Picture]:
    """One picture a prompt with the model as it is, its dropout off."""
    family: ModelFamily = made.ready.family
    modules = [*family.parts.values(), *made.ready.method.modules().values()]
    states = [module.training for module in modules]
    for module in modules:
        module.eval()
    with made.loop.averaged():
        pictures = draw_prompts(family, prompts, SEED)
    for module, training in zip(modules, states, strict=True):
        module.train(training)
    return pictures


def before_and_after(
    made: Prepared, prompts: Sequence[str], score: Callable[[Picture], float], sheet: Path
) -> tuple[float, float]:
    """The mean score of the prompts' pictures before and after the plan's steps; the pictures are left in `sheet`."""
    first = drawn(made, prompts)
    run_steps(made)
    last = drawn(made, prompts)
    contact_sheet([*first, *last], 12).save(sheet)
    return mean_score(first, score), mean_score(last, score)


def objects_kept(pictures: Sequence[Picture], prompts: Sequence[str]) -> float:
    """The share of zil pictures whose colour is the prompt's."""
    hits = [styles.read_zil(picture)[0] in prompt for picture, prompt in zip(pictures, prompts, strict=True)]
    return sum(hits) / len(hits)
