"""Previews compared by a CLIP model: against transformers' own processor and model, and in a run's events."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import CLIPConfig, CLIPModel, CLIPTextConfig, CLIPVisionConfig
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from engine.cost.machine import Machine
from engine.demo.tokenizer import write_tokenizer
from engine.errors import UserError
from engine.planning.check import check
from engine.planning.data import scan_data
from engine.train.similarity import COMPARED, Comparison, pixels
from tests.support.pictures import write_pictures
from tests.support.runs import events_of, new_run, quick_plan, work_to_end

SIDE = 32


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CLIP of one layer with random weights."""
    folder = tmp_path_factory.mktemp("clip")
    words = write_tokenizer(folder)
    text = CLIPTextConfig(
        vocab_size=words, hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2,
        eos_token_id=words - 1, bos_token_id=words - 2, pad_token_id=words - 1,
    )  # fmt: skip
    seen = CLIPVisionConfig(
        hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2, image_size=SIDE, patch_size=8
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(0)
        CLIPModel(CLIPConfig(text_config=text, vision_config=seen, projection_dim=8)).save_pretrained(folder)
    return folder


def _picture(size: tuple[int, int], seed: int) -> Image.Image:
    array = np.random.default_rng(seed).integers(0, 255, (size[1], size[0], 3), dtype=np.uint8)
    return Image.fromarray(array)


@pytest.mark.parametrize("size", [(64, 64), (80, 48), (33, 97), (32, 32), (20, 50)])
def test_a_picture_is_seen_as_transformers_shows_it(size: tuple[int, int]) -> None:
    own: Any = CLIPImageProcessorPil(size={"shortest_edge": SIDE}, crop_size={"height": SIDE, "width": SIDE})
    picture = _picture(size, 1)
    expected = own(picture, return_tensors="pt")["pixel_values"][0]
    assert torch.allclose(pixels(picture, SIDE), expected, atol=1e-5)


@torch.no_grad()
def test_the_cosines_are_the_models_own(clip: Path, pictures: Path, small_sd1: Path) -> None:
    items = scan_data(quick_plan(small_sd1, pictures)).items
    made, model = Comparison(clip, items, 7), CLIPModel.from_pretrained(clip)
    own: Any = CLIPImageProcessorPil(size={"shortest_edge": SIDE}, crop_size={"height": SIDE, "width": SIDE})
    from transformers import CLIPTokenizer

    tokenizer: Any = CLIPTokenizer.from_pretrained(clip)
    drawn, prompt = _picture((64, 64), 5), "a big red circle"
    every = [drawn, *(Image.open(item.path) for item in items)]
    ids = tokenizer(
        [prompt], padding="max_length", max_length=77, truncation=True, return_tensors="pt"
    ).input_ids
    answer = model(input_ids=ids, pixel_values=own(every, return_tensors="pt")["pixel_values"])
    found = made.compare(drawn, prompt)
    assert found.prompt == pytest.approx(float(answer.image_embeds[0] @ answer.text_embeds[0]), abs=1e-5)
    others = answer.image_embeds[1:] @ answer.image_embeds[0]
    assert found.pictures == pytest.approx(float(others.mean()), abs=1e-5)
    assert made.compare(drawn, prompt) == found
    assert Comparison(clip, tuple(reversed(items)), 7).compare(drawn, prompt).pictures == found.pictures


def test_a_large_data_set_is_compared_with_some_of_it(clip: Path, tmp_path: Path, small_sd1: Path) -> None:
    items = scan_data(quick_plan(small_sd1, write_pictures(tmp_path / "many", COMPARED + 5))).items
    made = Comparison(clip, items, 7)
    made.compare(_picture((64, 64), 5), "")
    assert made._known is not None and len(made._known) == COMPARED


def test_a_run_tells_how_near_its_previews_are(
    clip: Path, pictures: Path, small_sd1: Path, home: Path
) -> None:
    drawing: dict[str, object] = {"samples__every": 3, "samples__steps": 1, "samples__count": 2}
    run = new_run(quick_plan(small_sd1, pictures, **drawing, samples__clip=str(clip)))
    view = work_to_end(run)
    told = [event for event in events_of(run) if event["kind"] == "sample"]
    assert len(told) == 6 and all(-1 <= event["to_prompt"] <= 1 for event in told)
    assert [(each.to_prompt, each.to_pictures) for each in view.previews] == [
        (event["to_prompt"], event["to_pictures"]) for event in told
    ]
    plain = new_run(quick_plan(small_sd1, pictures, **drawing))
    work_to_end(plain)
    assert not any("to_prompt" in event for event in events_of(plain))
    for picture in plain.previews.glob("*.png"):
        assert picture.read_bytes() == (run.previews / picture.name).read_bytes(), "nothing else is changed"
    losses = [[event["loss"] for event in events_of(one) if event["kind"] == "step"] for one in (run, plain)]
    assert losses[0] == losses[1]


def test_a_folder_without_a_model_is_named(
    clip: Path, pictures: Path, small_sd1: Path, tmp_path: Path, no_gpu: Machine
) -> None:
    def found(**changes: object) -> list[str]:
        plan = quick_plan(small_sd1, pictures, **changes)
        return [problem.level for problem in check(plan, here=no_gpu) if problem.key == "samples.clip"]

    assert found(samples__clip=str(tmp_path / "nowhere"), samples__every=1) == ["error"]
    assert found(samples__clip=str(clip), samples__every=0) == ["warning"]
    assert found(samples__clip=str(clip), samples__every=1) == []
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(UserError, match="holds no CLIP model"):
        Comparison(tmp_path, (), 7)
