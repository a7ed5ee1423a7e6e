"""Textual inversion: only the new rows move, as plain torch says, in every text encoder; prompts read them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL, DDPMScheduler, UNet2DConditionModel
from PIL import Image
from transformers import CLIPTextModel, CLIPTokenizer

from engine.errors import UserError
from engine.keys import uniform
from engine.methods.placeholder_tokens import WordTokenizer
from engine.train import checkpoint
from tests.support.draws import normal
from tests.support.pictures import write_pictures
from tests.support.runs import quick_plan
from tests.support.sessions import Prepared, prepared, run_steps, weights

SEED, RATE = 7, 1e-2


def _plan(base: Path, pictures: Path, **changes: Any) -> Any:
    own = {
        "method": "textual_inversion",
        "data__trigger": "<cat>",
        "data__caption_dropout": 0.0,
        "train__learning_rate": RATE,
        "seed": SEED,
    }
    return quick_plan(base, pictures, **{**own, **changes})


def _table(made: Prepared) -> torch.Tensor:
    encoder: Any = made.adapted.family.parts["text_encoder"]
    table: torch.Tensor = encoder.get_input_embeddings().weight.detach()
    return table


@pytest.fixture
def made(small_sd1: Path, pictures: Path, tmp_path: Path) -> Prepared:
    return prepared(_plan(small_sd1, pictures, textual_inversion__vectors=2), tmp_path / "cache")


def _state(made: Prepared) -> dict[str, torch.Tensor]:
    return {
        f"{part}.{name}": value.clone()
        for part, module in made.adapted.family.parts.items()
        for name, value in module.state_dict().items()
        if not name.endswith(".rows")
    }


def test_old_rows_and_everything_else_stay_bit_equal(made: Prepared) -> None:
    before, words = _state(made), weights(made)
    run_steps(made)
    after = _state(made)
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    (old,), (new,) = words.values(), weights(made).values()
    assert old.shape == (2, _table(made).shape[1])
    assert bool((old != new).any(dim=1).all()), "every row moves"


def test_vectors_keep_the_vocabularys_median_norm(made: Prepared) -> None:
    run_steps(made)
    (rows,) = weights(made).values()
    median = _table(made).float().norm(dim=-1).median()
    assert torch.allclose(rows.norm(dim=-1), median.expand(2), rtol=1e-5)


def test_without_keep_norm_vectors_are_free(small_sd1: Path, pictures: Path, tmp_path: Path) -> None:
    made = prepared(_plan(small_sd1, pictures, textual_inversion__keep_norm=False), tmp_path / "cache")
    run_steps(made)
    (rows,) = weights(made).values()
    median = float(_table(made).float().norm(dim=-1).median())
    assert abs(float(rows.norm()) - median) > 1e-4


def test_words_start_as_copies_of_their_initial_words_in_turn(
    small_sd1: Path, pictures: Path, tmp_path: Path
) -> None:
    plan = _plan(
        small_sd1,
        pictures,
        textual_inversion__tokens=["<cat>", "<dog>"],
        textual_inversion__initial=["red circle", "star"],
        textual_inversion__vectors=3,
    )
    made = prepared(plan, tmp_path / "cache")
    tokenizer = CLIPTokenizer.from_pretrained(small_sd1, subfolder="tokenizer")
    red, circle, star = tokenizer("red circle star", add_special_tokens=False).input_ids
    (rows,) = weights(made).values()
    assert torch.equal(rows, _table(made).float()[[red, circle, red, star, star, star]])


def test_an_initial_text_without_tokens_is_refused(small_sd1: Path, pictures: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="initial"):
        prepared(_plan(small_sd1, pictures, textual_inversion__initial=[" "]), tmp_path / "cache")


def test_a_word_reads_as_its_vectors_in_any_case_and_only_alone(small_sd1: Path) -> None:
    plain = CLIPTokenizer.from_pretrained(small_sd1, subfolder="tokenizer")
    words = WordTokenizer(plain, {"morp": [0, 1], "<big morp>": [2]})
    red, circle = plain("red circle", add_special_tokens=False).input_ids
    assert words.pieces("red Morp circle") == [red, -1, -2, circle]
    assert words.pieces("red <big morp>") == [red, -3]
    assert words.pieces("morps") == plain("morps", add_special_tokens=False).input_ids
    known = "a red circle, on a blue background"
    padded = plain(known, padding="max_length", max_length=77, return_tensors="pt").input_ids
    assert torch.equal(words([known]).input_ids, padded)
    long = words(["red morp " * 60]).input_ids
    assert long.shape == (1, 77)
    assert long[0, -1] == plain.eos_token_id


def _randn(purpose: str, step: int, slot: int) -> torch.Tensor:
    return normal(SEED, purpose, step, slot, (4, 8, 8))


def _reference(base: Path, folder: Path, orders: list[list[int]]) -> tuple[list[float], list[torch.Tensor]]:
    """Three steps as diffusers' example does them: tokens added, the table grown, old rows put back."""
    load: dict[str, Any] = {"torch_dtype": torch.float32}
    unet = UNet2DConditionModel.from_pretrained(base, subfolder="unet", **load).requires_grad_(False).eval()
    vae = AutoencoderKL.from_pretrained(base, subfolder="vae", **load).requires_grad_(False).eval()
    encoder = CLIPTextModel.from_pretrained(base, subfolder="text_encoder", **load).requires_grad_(False)
    tokenizer = CLIPTokenizer.from_pretrained(base, subfolder="tokenizer")
    schedule = DDPMScheduler.from_pretrained(base, subfolder="scheduler")
    old = encoder.get_input_embeddings().weight.shape[0]
    tokenizer.add_tokens(["<cat>", "<cat>_1"])
    encoder.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    table = encoder.get_input_embeddings().weight
    (star,) = tokenizer("star", add_special_tokens=False).input_ids
    table.data[old:] = table.data[star]
    table.requires_grad_(True)
    kept = table.data[:old].clone()
    median = kept.norm(dim=-1).median()
    optimizer = torch.optim.AdamW([table], lr=RATE, weight_decay=0.01)
    files = sorted(folder.glob("*.png"))
    losses, rows = [], []
    for step, order in enumerate(orders, 1):
        latents, hidden, noises, times = [], [], [], []
        for slot, row in enumerate(order):
            pixels = torch.from_numpy(np.array(Image.open(files[row]).convert("RGB"))).float() / 127.5 - 1
            posterior = vae.encode(pixels.permute(2, 0, 1)[None]).latent_dist
            scale = vae.config.scaling_factor
            latents.append(posterior.mean * scale + posterior.std * scale * _randn("latent", step, slot))
            noises.append(_randn("noise", step, slot)[None])
            times.append(int(uniform(SEED, "timestep", step, slot) * 1000))
            text = f"<cat> <cat>_1, {files[row].with_suffix('.txt').read_text()}"
            ids = tokenizer(text, padding="max_length", max_length=77, return_tensors="pt").input_ids
            hidden.append(encoder(ids)[0])
        noise, time = torch.cat(noises), torch.tensor(times)
        noisy = schedule.add_noise(torch.cat(latents), noise, time)
        loss = ((unet(noisy, time, torch.cat(hidden)).sample - noise) ** 2).mean()
        optimizer.zero_grad()
        loss.backward()
        assert table.grad is not None
        table.grad[:old] = 0
        torch.nn.utils.clip_grad_norm_([table], 1.0)
        optimizer.step()
        table.data[:old] = kept
        table.data[old:] *= median / table.data[old:].norm(dim=-1, keepdim=True)
        losses.append(float(loss))
        rows.append(table.data[old:].clone())
    return losses, rows


def test_steps_equal_plain_torch(small_sd1: Path, tmp_path: Path) -> None:
    folder = write_pictures(tmp_path / "pictures", count=5)
    plan = _plan(
        small_sd1,
        folder,
        train__steps=3,
        textual_inversion__vectors=2,
        textual_inversion__initial=["star"],
    )
    made = prepared(plan, tmp_path / "cache")
    losses, rows = [], []
    for (report,) in made.loop.run(0, lambda step: True):
        losses.append(report.loss)
        rows += list(weights(made).values())
    orders = [[int(row) for row in made.feed.order.batch(index)] for index in range(3)]
    expected, wanted = _reference(small_sd1, folder, orders)
    assert max(abs(one - other) for one, other in zip(losses, expected, strict=True)) < 1e-6
    assert max(float((one - other).abs().max()) for one, other in zip(rows, wanted, strict=True)) < 1e-6


def test_resume_is_bit_exact(small_sd1: Path, pictures: Path, tmp_path: Path) -> None:
    plan = _plan(small_sd1, pictures, textual_inversion__vectors=2)
    straight, first, second = (prepared(plan, tmp_path / "cache") for _ in range(3))
    losses = [report.loss for report in run_steps(straight)]
    run_steps(first, until=3)
    saved, size = checkpoint.save(
        tmp_path / "kept", 3, first.adapted.trainables, first.loop.optimizer, {"loop": first.loop.state()}
    )
    assert size < 50_000, "only the new rows are kept"
    state = checkpoint.load(saved, second.adapted.trainables, second.loop.optimizer)
    second.loop.restore(state["loop"])
    assert [report.loss for report in run_steps(second, start=3)] == losses[3:]
    assert torch.equal(*(next(iter(weights(one).values())) for one in (straight, second)))


def test_a_preview_prompt_with_the_word_changes_and_one_without_does_not(made: Prepared) -> None:
    family = made.adapted.family
    prompts = ["a photo of <cat>", "a photo of a cat"]

    def embedded() -> list[torch.Tensor]:
        with torch.no_grad():
            return [family.encode_text(family.tokenize([text])).hidden for text in prompts]

    before = embedded()
    run_steps(made)
    after = embedded()
    assert not torch.equal(before[0], after[0])
    assert torch.equal(before[1], after[1])
