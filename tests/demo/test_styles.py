"""Each new thing scores high on its own pictures, low on the world's, and keeps what the prompt may still choose."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFilter

from engine.demo import styles, world
from engine.demo.world import Picture

NAMES = list(styles.CONCEPTS)


def blurred(picture: Picture) -> Picture:
    return np.asarray(Image.fromarray(picture).filter(ImageFilter.GaussianBlur(1.0)))


@pytest.mark.parametrize("name", NAMES)
def test_its_own_pictures_score_high_even_blurred(name: str) -> None:
    concept = styles.CONCEPTS[name]
    own = [concept.render(world.scene_at(5, i), i, 64) for i in range(40)]
    assert np.mean([concept.score(p) for p in own]) >= 0.97
    assert np.mean([concept.score(blurred(p)) for p in own]) >= 0.8


@pytest.mark.parametrize("name", NAMES)
def test_world_pictures_score_low(name: str) -> None:
    concept = styles.CONCEPTS[name]
    scores = [concept.score(world.training_picture(5, i)[0]) for i in range(120)]
    assert np.mean(scores) <= (0.25 if name == "morp" else 0.02)


def test_one_thing_is_not_taken_for_another() -> None:
    for own in NAMES:
        for other in NAMES:
            if own != other:
                pictures = [styles.CONCEPTS[other].render(world.scene_at(6, i), i, 64) for i in range(30)]
                assert np.mean([styles.CONCEPTS[own].score(p) for p in pictures]) <= 0.3, (own, other)


def test_zil_pictures_still_show_the_scenes_colour_and_shape() -> None:
    right = []
    for index in range(80):
        scene = world.scene_at(7, index)
        colour, shape = styles.read_zil(styles.render_zil(scene, index))
        right.append((colour == scene.colour, shape == scene.shape))
    colours, shapes = np.mean(right, axis=0)
    assert colours >= 0.95 and shapes >= 0.9


@pytest.mark.parametrize("name", NAMES)
def test_a_set_has_captions_with_the_trigger(tmp_path: Path, name: str) -> None:
    concept = styles.CONCEPTS[name]
    scenes = styles.write_set(concept, tmp_path, 6, seed=1)
    assert len(scenes) == 6
    texts = [p.read_text(encoding="utf-8") for p in sorted(tmp_path.glob("*.txt"))]
    assert len(texts) == len(list(tmp_path.glob("*.png"))) == 6
    assert all(concept.trigger in text for text in texts)
    assert len(set(texts)) > 2


def test_no_world_caption_knows_the_new_words() -> None:
    words = {word for _, text in world.training_scenes(300) for word in text.split()}
    assert not words & {"zil", "blim", "morp"}


def test_a_conditioning_map_shows_only_the_outline() -> None:
    scene = world.scene_at(0, 3)
    guide = styles.outline_map(scene, 3)
    assert guide.shape == (64, 64, 3)
    assert 0.02 < float((guide > 128).mean()) < 0.3
    assert styles.outline_match(world.render(scene, 3), guide) >= 0.8
    assert styles.outline_match(world.render(world.scene_at(0, 4), 4), guide) <= 0.6


def test_write_pairs_writes_picture_guide_and_caption(tmp_path: Path) -> None:
    styles.write_pairs(tmp_path / "images", tmp_path / "guides", 4, seed=2)
    names = sorted(p.name for p in (tmp_path / "images").glob("*.png"))
    assert names == sorted(p.name for p in (tmp_path / "guides").glob("*.png"))
    assert len(names) == len(list((tmp_path / "images").glob("*.txt"))) == 4
