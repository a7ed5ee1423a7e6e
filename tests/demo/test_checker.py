"""The checker reads what was drawn: sharp, blurred, noisy or of another size."""

import numpy as np
import pytest
from PIL import Image, ImageFilter

from engine.demo import checker, world
from engine.demo.world import Picture, Scene

COUNT = 240


def agreement(change: object = None) -> dict[str, float]:
    totals: dict[str, int] = {}
    for index in range(COUNT):
        picture, _, scene = world.training_picture(11, index)
        changed = change(picture) if callable(change) else picture
        for name, right in checker.read_picture(changed).agrees(scene).items():
            totals[name] = totals.get(name, 0) + right
    return {name: total / COUNT for name, total in totals.items()}


def test_rendered_pictures_are_read_almost_without_error() -> None:
    for name, share in agreement().items():
        assert share >= 0.99, name


def test_blurred_and_noisy_pictures_keep_colour_shape_place_and_background() -> None:
    def spoil(picture: Picture) -> Picture:
        soft = Image.fromarray(picture).filter(ImageFilter.GaussianBlur(1.2))
        noise = np.random.default_rng(0).normal(0, 6, picture.shape)
        return np.clip(np.asarray(soft) + noise, 0, 255).astype(np.uint8)

    shares = agreement(spoil)
    assert shares["colour"] >= 0.95 and shares["shape"] >= 0.9
    assert shares["position"] >= 0.95 and shares["background"] >= 0.95


def test_a_larger_picture_reads_the_same() -> None:
    scene = Scene("heart", "green", "sand", position="left", texture="striped", size="large")
    assert all(checker.read_picture(world.render(scene, 1, 256)).agrees(scene).values())


@pytest.mark.parametrize("background", list(world.BACKGROUNDS))
def test_an_empty_picture_shows_nothing(background: str) -> None:
    empty = np.full((64, 64, 3), world.BACKGROUNDS[background], dtype=np.uint8)
    found = checker.read_picture(empty)
    assert (found.colour, found.shape, found.confidence) == ("", "", 0.0)


def test_a_wrong_colour_or_shape_is_noticed() -> None:
    found = checker.read_picture(world.render(Scene("star", "blue", "white"), 2))
    assert found.agrees(Scene("ring", "red", "white")) == {
        "colour": False,
        "shape": False,
        "position": True,
        "texture": True,
        "background": True,
    }


def test_noise_gives_no_confident_reading() -> None:
    noise = np.random.default_rng(3).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    assert checker.read_picture(noise).confidence < 0.5
