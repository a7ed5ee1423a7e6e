"""`python -m engine.demo.build --out FOLDER`: makes the built-in tiny model from nothing but a seed.

The autoencoder is trained by engine.demo.vae; UNet and text encoder by the same loop, feed and caches as
everyone's runs, on pictures of the generated world.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import torch

from engine.demo import recipe, world
from engine.demo.score import agreement, contact_sheet, draw_prompts
from engine.demo.vae import train_vae
from engine.families.base import ModelFamily
from engine.families.load import load_family
from engine.plan.files import from_dict
from engine.plan.schema import Plan
from engine.train.ema import Ema
from engine.train.opening import open_training

SEED = 0
PICTURES = 8000
STEPS = 6000
BATCH = 32
RATE = 1e-3
EMA_DECAY = 0.999
HELD_OUT = 200
SHEET = 40


def make_plan(base: Path, pictures: Path, steps: int, seed: int) -> Plan:
    """How UNet and text encoder are trained together."""
    return from_dict(
        {
            "name": "builtin-tiny",
            "method": "full",
            "seed": seed,
            "base": {"model": str(base)},
            "data": {"path": str(pictures), "resolution": 64, "caption_dropout": 0.1, "bucket": False},
            "full": {"text_encoder": True, "text_encoder_learning_rate": RATE},
            "train": {
                "steps": steps,
                "batch_size": BATCH,
                "learning_rate": RATE,
                "schedule": "cosine",
                "warmup": 100,
                "precision": "fp32",
                "ema": EMA_DECAY,
            },
            "hardware": {"device": "cpu"},
            "optimizer": {"beta2": 0.99},
            "objective": {"min_snr_gamma": 5.0},
        }
    )


def train(plan: Plan, cache: Path, minutes: float) -> ModelFamily:
    """Train every weight of UNet and text encoder; the result carries the averaged weights."""
    training = open_training(plan, cache=cache, checked=True)
    loop, family = training.loop, training.adapted.family
    ema = loop.ema
    assert isinstance(ema, Ema)
    began = time.monotonic()
    for group in loop.run(0, lambda step: True):
        last = group[-1]
        if last.step % 100 == 0:
            spent = time.monotonic() - began
            print(f"step {last.step}/{plan.train.steps} loss {last.loss:.4f} {spent:.0f} s", flush=True)
        if last.step % 500 == 0 or last.step == plan.train.steps:
            with ema.averaged():
                print(json.dumps(measure(family, 100)[0]), flush=True)
        if minutes and time.monotonic() - began > 60 * minutes:
            break
    with torch.no_grad():
        for value, shadow in zip(ema.parameters, ema.shadow, strict=True):
            value.copy_(shadow)
    return family


def measure(family: ModelFamily, count: int = HELD_OUT) -> tuple[dict[str, float], list[world.Picture]]:
    """Agreement of pictures with held-out prompts, by attribute, and the pictures."""
    asked = world.held_out_prompts(count)
    pictures = draw_prompts(family, [prompt for prompt, _ in asked])
    return agreement(pictures, [scene for _, scene in asked]), pictures


def main(arguments: Sequence[str] | None = None) -> None:
    """Train, write the folder, and print what the written model scores."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="the diffusers folder to write")
    parser.add_argument("--vae", type=Path, help="a trained autoencoder; without it one is trained first")
    parser.add_argument(
        "--work", type=Path, help="where pictures and caches go (default: a temporary folder)"
    )
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--pictures", type=int, default=PICTURES)
    parser.add_argument("--minutes", type=float, default=0, help="stop earlier after this time; 0 is never")
    parser.add_argument("--sheet", type=Path, help="write a contact sheet of held-out prompts here")
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)
    work = given.work or Path(tempfile.mkdtemp(prefix="builtin-tiny-"))
    vae = given.vae
    if vae is None:
        vae = work / "vae"
        train_vae(vae)
    base, pictures = work / "base", work / "pictures"
    shutil.rmtree(base, ignore_errors=True)
    recipe.write_random(base, given.seed, vae)
    if not pictures.is_dir():
        world.write_world(pictures, given.pictures, given.seed)
    family = train(make_plan(base, pictures, given.steps, given.seed), work / "cache", given.minutes)
    parts = family.parts
    recipe.write_folder(given.out, parts["unet"], parts["vae"], parts["text_encoder"])
    written = load_family(given.out)
    for part in written.parts.values():
        part.float()
    scores, drawn = measure(written)
    print(json.dumps(scores), flush=True)
    if given.sheet:
        contact_sheet(drawn[:SHEET], columns=10).save(given.sheet)


if __name__ == "__main__":
    main()
