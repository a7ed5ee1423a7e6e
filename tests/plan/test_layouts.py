"""Other programs' descriptions of several sets: kohya's dataset config, OneTrainer's concepts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from engine.errors import UserError
from engine.plan.files import load_plan
from engine.plan.layouts import read_layout
from engine.planning.check import check
from engine.planning.data import scan_classes, scan_data
from tests.support.pictures import write_pictures
from tests.support.plans import make_plan

KOHYA = """
[general]
shuffle_caption = true
keep_tokens = 1
caption_extension = ".txt"

[[datasets]]
resolution = [96, 64]
batch_size = 4
enable_bucket = true

  [[datasets.subsets]]
  image_dir = "cats"
  num_repeats = 5
  class_tokens = "zork cat"
  flip_aug = true

  [[datasets.subsets]]
  image_dir = 'dogs'
  is_reg = true
  class_tokens = "dog"
  keep_tokens = 0
  caption_dropout_rate = 0
  color_aug = true
"""


def concept(path: Path | str, **more: Any) -> dict[str, Any]:
    return {"path": str(path), "enabled": True, "type": "STANDARD", "image": {}, "text": {}, **more}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number, name in enumerate(("cats", "dogs", "birds")):
        write_pictures(tmp_path / name, 2, seed=number)
    return tmp_path


def test_kohyas_dataset_config_is_read_as_it_stands(folder: Path) -> None:
    file = folder / "dataset.toml"
    file.write_text(KOHYA)
    layout = read_layout(file)
    assert layout is not None
    cats, dogs = layout.sets
    assert (cats.path, cats.repeats, cats.trigger, cats.add_trigger) == (
        str(folder / "cats"),
        5,
        "zork cat",
        False,
    )
    assert (cats.flip, cats.shuffle_tags, cats.keep_tags, cats.kind) == (True, True, 1, "pictures")
    assert (dogs.kind, dogs.keep_tags, dogs.caption_dropout, dogs.trigger) == ("class", 0, 0.0, "dog")
    assert cats.resolution == dogs.resolution == 80, "the square of 96 x 64 has a side of 78.4"
    assert layout.unread == ("color_aug = True",)


def test_a_plan_may_name_the_file_and_says_what_is_not_used(folder: Path) -> None:
    file = folder / "dataset.toml"
    file.write_text(KOHYA)
    plan = make_plan(folder / "cats", method="dreambooth")
    plan = load_plan(json.loads(plan.model_dump_json(exclude_none=True)) | {"data": {"path": str(file)}})
    assert {item.folder.name for item in scan_data(plan).items} == {"cats"}
    classes = scan_classes(plan.data)
    assert classes is not None and {item.folder.name for item in classes.items} == {"dogs"}
    told = [problem for problem in check(plan) if problem.key == "data.path"]
    assert {problem.level for problem in told} == {"warning"}
    assert any("color_aug" in problem.what for problem in told)


def test_onetrainers_concepts_are_read_as_they_stand(folder: Path) -> None:
    file = folder / "concepts.json"
    concepts = [
        concept(folder / "cats", balancing=3.0, loss_weight=0.5, image={"enable_random_flip": True}),
        concept("dogs", type="PRIOR_PREDICTION", text={"enable_tag_shuffling": True, "keep_tags_count": 2}),
        concept(folder / "birds", enabled=False),
        concept(folder / "birds", type="VALIDATION", name="held out"),
        concept(folder / "birds", balancing=50.0, balancing_strategy="SAMPLES"),
    ]
    file.write_text(json.dumps(concepts))
    layout = read_layout(file)
    assert layout is not None
    cats, dogs, birds = layout.sets
    assert (cats.repeats, cats.weight, cats.flip, cats.kind) == (3, 0.5, True, "pictures")
    assert (dogs.path, dogs.kind, dogs.shuffle_tags, dogs.keep_tags) == (
        str(folder / "dogs"),
        "class",
        True,
        2,
    )
    assert birds.repeats is None
    assert any("held out" in text for text in layout.unread) and any(
        "SAMPLES" in text for text in layout.unread
    )


@pytest.mark.parametrize(
    ("name", "text", "word"),
    [
        ("d.toml", "[[datasets]]\nresolution = 512\n", "names no set"),
        ("d.toml", "[[datasets]]\n[[datasets.subsets]]\nnum_repeats = 3\n", "image_dir is no path"),
        ("d.toml", "datasets = [1]\n", "is no table"),
        (
            "d.toml",
            "[[datasets]]\nresolution = 'x'\n[[datasets.subsets]]\nimage_dir = 'a'\n",
            "resolution is none",
        ),
        (
            "d.toml",
            "[[datasets]]\n[[datasets.subsets]]\nimage_dir = 'a'\nnum_repeats = -3\n",
            "cannot be read",
        ),
        ("c.json", '[{"path": 3}]', "is no path"),
        ("c.json", '[{"path": "a", "enabled": false}]', "no concept"),
    ],
)
def test_a_layout_that_cannot_be_used_is_refused_by_name(
    name: str, text: str, word: str, tmp_path: Path
) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(UserError, match=word) as caught:
        read_layout(tmp_path / name)
    assert name in caught.value.what and caught.value.fix


@pytest.mark.parametrize("text", ["", "x", "[a]\nb = 1", "[[datasets", "\0\0", "[" * 5000])
@pytest.mark.parametrize("suffix", [".toml", ".json"])
def test_other_files_are_no_layouts(text: str, suffix: str, tmp_path: Path) -> None:
    (tmp_path / f"x{suffix}").write_text(text)
    assert read_layout(tmp_path / f"x{suffix}") is None
