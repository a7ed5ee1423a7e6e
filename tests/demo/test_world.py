"""The picture world: the same from the same seed, true to its captions, and silent about what is held out."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from engine.demo import world
from engine.demo.world import Scene


def test_a_training_picture_is_the_same_every_time_and_differs_from_its_neighbour() -> None:
    first, words, scene = world.training_picture(3, 7)
    again, words_again, scene_again = world.training_picture(3, 7)
    assert np.array_equal(first, again)
    assert (words, scene) == (words_again, scene_again)
    assert not np.array_equal(first, world.training_picture(3, 8)[0])


def test_no_training_scene_is_a_held_out_one() -> None:
    assert not any(world.is_held_out(scene) for scene, _ in world.training_scenes(2000, seed=1))


def test_held_out_prompts_name_only_held_out_scenes_and_are_mostly_different() -> None:
    prompts = world.held_out_prompts(200, seed=0)
    assert len(prompts) == 200
    assert len({text for text, _ in prompts}) > 150
    for text, scene in prompts:
        assert world.is_held_out(scene)
        assert scene.colour in text and scene.shape in text and scene.background in text


def test_every_colour_is_seen_with_every_shape_in_training() -> None:
    seen = {(s.colour, s.shape) for s, _ in world.training_scenes(2000, seed=0)}
    assert len(seen) == len(world.COLOURS) * len(world.SHAPES)


def test_a_caption_never_says_something_that_the_picture_does_not_show() -> None:
    tables = {
        "shape": world.SHAPES,
        "colour": tuple(world.COLOURS),
        "background": tuple(world.BACKGROUNDS),
        "size": ("small", "large"),
        "texture": ("striped", "dotted"),
    }
    for scene, words in world.training_scenes(500, seed=2):
        said = words.replace(",", " ").split()
        for attribute, names in tables.items():
            for name in set(names) & set(said):
                assert getattr(scene, attribute) == name, (words, scene)


def test_captions_use_many_wordings_and_leave_things_unsaid() -> None:
    scene = Scene("star", "orange", "sky", position="left", texture="dotted", size="large")
    texts = [world.caption(scene, seed) for seed in range(100)]
    assert len(set(texts)) > 40
    assert 10 < sum("sky" in text for text in texts) < 90
    plain = replace(scene, size="medium", texture="solid")
    assert any(world.caption(plain, seed).startswith("an orange") for seed in range(100))


@pytest.mark.parametrize("size", [32, 64, 128])
def test_a_picture_has_the_asked_size_and_the_background_in_its_corner(size: int) -> None:
    picture = world.render(Scene("circle", "red", "grey"), 5, size)
    assert picture.shape == (size, size, 3) and picture.dtype == np.uint8
    assert np.abs(picture[0, 0].astype(int) - 128).max() <= 6
    assert np.abs(picture[size // 2, size // 2].astype(int) - world.COLOURS["red"]).max() <= 10


def test_write_world_writes_each_picture_with_its_caption(tmp_path: Path) -> None:
    scenes = world.write_world(tmp_path / "set", 5, seed=4)
    assert sorted(p.name for p in (tmp_path / "set").glob("*.png")) == [f"{i:05d}.png" for i in range(5)]
    for index, scene in enumerate(scenes):
        picture, words, truth = world.training_picture(4, index)
        assert truth == scene
        assert np.array_equal(np.asarray(Image.open(tmp_path / "set" / f"{index:05d}.png")), picture)
        assert (tmp_path / "set" / f"{index:05d}.txt").read_text(encoding="utf-8").strip() == words
