"""Pictures by outline: what the learning tests of ControlNet and T2I-Adapter draw and how they measure it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from engine.demo import prepare as demo
from engine.demo import styles, world
from engine.demo.score import GUIDANCE, STEPS, contact_sheet
from engine.plan.build import build, gather
from engine.plan.schema import Plan
from engine.train.previews import to_image
from engine.train.sampling import Shot, draw_batch
from tests.support.sessions import CPU, Prepared, prepared, run_steps

COUNT = 24
# Training scenes come from other seeds, and lie at other places by their pictures' own seeds.
SCENE_SEED, PLACE_SEED = 90_000, 7_000


@dataclass(frozen=True)
class Agreement:
    """Mean outline agreement, 0 to 1: with the picture's own condition, and with its neighbour's."""

    own: float
    shuffled: float


def demo_plan(method: str, folder: Path, **changes: object) -> Plan:
    """The plan of `sdtrain demo METHOD`, on one thread and without previews."""
    answers = demo.prepare(folder, method) | {"hardware.device": "cpu", "samples.every": 0, **changes}
    return build(answers, gather(answers)).plan


def scenes() -> list[world.Scene]:
    return [world.scene_at(SCENE_SEED, index) for index in range(COUNT)]


def guides() -> list[world.Picture]:
    return [styles.outline_map(scene, PLACE_SEED + index) for index, scene in enumerate(scenes())]


def draw(made: Prepared, shown: list[world.Picture] | None) -> list[world.Picture]:
    """One picture a scene, told only colour and shape; `shown` are the conditions, none draws without the net."""
    family, method = made.ready.family, made.ready.method
    texts = [f"a {scene.colour} {scene.shape}" for scene in scenes()]
    with torch.no_grad():
        empty = family.encode_text(family.tokenize([""]))
        shots = [
            Shot(family.encode_text(family.tokenize([text])), empty, index, STEPS, GUIDANCE, 64, 64)
            for index, text in enumerate(texts)
        ]
        if shown is None:
            return [np.asarray(to_image(pixels)) for pixels in draw_batch(family, shots, CPU)]
        control = torch.from_numpy(np.stack(shown)).permute(0, 3, 1, 2).float() / 255
        batch = {"control": torch.cat([control, control])}
        modules = method.modules().values()
        for module in modules:
            module.eval()
        pixels = draw_batch(
            family, shots, CPU, lambda noisy, time, cond: method.residuals(family, noisy, time, cond, batch)
        )
        for module in modules:
            module.train()
    return [np.asarray(to_image(one)) for one in pixels]


def agreement(pictures: list[world.Picture]) -> Agreement:
    wanted = guides()
    others = [*wanted[1:], wanted[0]]
    own, shuffled = (
        float(
            np.mean([styles.outline_match(one, guide) for one, guide in zip(pictures, against, strict=True)])
        )
        for against in (wanted, others)
    )
    return Agreement(own, shuffled)


def learn(plan: Plan, folder: Path) -> tuple[Agreement, Agreement]:
    """Agreement before and after the plan; the pictures are left in `folder`/sheet.png."""
    made = prepared(plan, folder / "cache")
    before = agreement(draw(made, None))
    run_steps(made)
    pictures = draw(made, guides())
    contact_sheet([*guides(), *pictures], COUNT // 2).save(folder / "sheet.png")
    return before, agreement(pictures)
