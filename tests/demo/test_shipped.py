"""The autoencoder that ships with the project keeps what the checker reads and what the methods are taught."""

import json

import numpy as np
import pytest

pytest.importorskip("torch")
import torch
from diffusers import AutoencoderKL

from engine.demo import checker, recipe, styles, world
from engine.demo.vae import measure_scaling, to_pictures, to_tensor
from engine.demo.world import Picture


@pytest.fixture(scope="module")
def vae() -> AutoencoderKL:
    return AutoencoderKL.from_pretrained(recipe.TRAINED / "vae").eval()


def through(vae: AutoencoderKL, pictures: list[Picture]) -> list[Picture]:
    with torch.no_grad():
        return to_pictures(vae.decode(vae.encode(to_tensor(pictures)).latent_dist.mean).sample)


def test_world_pictures_keep_colour_shape_place_and_background(vae: AutoencoderKL) -> None:
    examples = [world.training_picture(21, i) for i in range(64)]
    results = through(vae, [picture for picture, _, _ in examples])
    right = [
        checker.read_picture(p).agrees(scene) for p, (_, _, scene) in zip(results, examples, strict=True)
    ]
    share = {name: float(np.mean([r[name] for r in right])) for name in right[0]}
    assert share["colour"] >= 0.95 and share["shape"] >= 0.9, share
    assert share["position"] >= 0.95 and share["background"] >= 0.95, share
    assert share["texture"] >= 0.8, share


@pytest.mark.parametrize("name", ["zil", "blim"])
def test_new_things_come_through_recognisably(vae: AutoencoderKL, name: str) -> None:
    concept = styles.CONCEPTS[name]
    results = through(vae, [concept.render(world.scene_at(9, i), i, 64) for i in range(16)])
    assert float(np.mean([concept.score(picture) for picture in results])) >= 0.8


def test_the_scaling_factor_is_that_of_its_own_latents(vae: AutoencoderKL) -> None:
    written = json.loads((recipe.TRAINED / "vae" / "config.json").read_text(encoding="utf-8"))[
        "scaling_factor"
    ]
    assert written == pytest.approx(measure_scaling(vae, count=64), rel=0.1)
