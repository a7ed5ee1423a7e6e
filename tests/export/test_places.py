"""Where a run's files go and what they are called."""

from pathlib import Path

import pytest

from engine.export.embedding import word_stems
from engine.train.exporting import target
from tests.support.runs import quick_plan

HERE = Path("export")


def _places(tmp_path: Path, *formats: str, **changes: object) -> list[str]:
    plan = quick_plan("builtin:tiny", tmp_path, **changes)
    return [target(plan, name, HERE).relative_to(HERE).as_posix() for name in formats or plan.export_formats]


def test_the_two_files_of_a_lora_do_not_lie_side_by_side(tmp_path: Path) -> None:
    assert _places(tmp_path, output__formats=[]) == ["quick.safetensors", "diffusers/quick.safetensors"]
    asked = ["diffusers", "kohya", "merged"]
    assert _places(tmp_path, output__formats=asked) == [
        "diffusers/quick.safetensors",
        "quick.safetensors",
        "quick-merged.safetensors",
    ]
    assert _places(tmp_path, "kohya", "diffusers", output__formats=["merged"]) == [
        "quick-kohya.safetensors",
        "diffusers/quick.safetensors",
    ]


def test_raw_weights_and_steps_stand_behind_the_name(tmp_path: Path) -> None:
    plan = quick_plan("builtin:tiny", tmp_path)
    assert target(plan, "kohya", HERE, "raw", "-00000002").name == "quick-00000002-raw.safetensors"
    assert target(plan, "diffusers", HERE, "raw") == HERE / "diffusers" / "quick-raw.safetensors"


@pytest.mark.parametrize(
    ("trigger", "stem"), [("<fat cat>", "fat-cat"), ("a:b,c", "a-b-c"), ("zqx", "zqx"), ("<***>", "word")]
)
def test_an_embedding_is_called_by_its_word(trigger: str, stem: str, tmp_path: Path) -> None:
    changes: dict[str, object] = {
        "method": "textual_inversion",
        "data__trigger": trigger,
        "output__formats": [],
    }
    assert _places(tmp_path, **changes) == [f"{stem}.pt", f"diffusers/{stem}.safetensors"]
    named = _places(tmp_path, **changes, output__file_name="mine")
    assert named == ["mine.pt", "diffusers/mine.safetensors"]


@pytest.mark.parametrize(
    ("stem", "words", "stems"),
    [
        ("cat", ["<cat>", "<fat dog>"], ["cat", "fat-dog"]),
        ("cat-raw", ["<cat>", "<dog>"], ["cat-raw", "dog-raw"]),
        ("pets", ["<cat>", "<dog>"], ["pets", "pets-dog"]),
        ("catalogue", ["<cat>", "<dog>"], ["catalogue", "catalogue-dog"]),
        ("a-b", ["<a b>", "<a-b>", "a:b"], ["a-b", "a-b-2", "a-b-3"]),
        ("Cat", ["Cat", "<cat>"], ["Cat", "cat-2"]),
    ],
)
def test_each_word_has_a_name_of_its_own(stem: str, words: list[str], stems: list[str]) -> None:
    assert word_stems(stem, tuple(words)) == stems
