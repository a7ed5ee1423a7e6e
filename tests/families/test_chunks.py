"""Captions of more than 75 tokens are read in chunks, in training and previews alike, and clip skip stops earlier."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler, StableDiffusionPipeline
from transformers import CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from engine.families.clip_text import TextReading
from engine.families.load import load_family
from engine.train.opening import open_training
from engine.train.previews import Painter, Prompt
from engine.train.sampling import PreviewRequest, initial_noise
from engine.train.watch import Watch
from tests.support.loaded import GEOMETRY
from tests.support.pictures import write_pictures
from tests.support.runs import quick_plan
from tests.support.sessions import Prepared, prepared, run_steps, weights

LONG = " ".join(f"a red circle, number {index}" for index in range(40))
MIDDLE = " ".join(f"a blue circle, number {index}" for index in range(12))
SHORT = "a red circle"


def _pieces(base: Path, part: str, text: str) -> tuple[CLIPTokenizer, list[int]]:
    tokenizer = CLIPTokenizer.from_pretrained(base, subfolder=part.replace("text_encoder", "tokenizer"))
    return tokenizer, tokenizer(text, add_special_tokens=False).input_ids


@torch.no_grad()
def _reference(base: Path, text: str, most: int, layer: int = 1) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Each 75 tokens with start and end and padding through the encoder by themselves, one behind the other."""
    sdxl = (base / "text_encoder_2").is_dir()
    hidden: list[torch.Tensor] = []
    pooled = None
    for part in ("text_encoder", "text_encoder_2") if sdxl else ("text_encoder",):
        kind: Any = CLIPTextModelWithProjection if part == "text_encoder_2" else CLIPTextModel
        encoder = kind.from_pretrained(base, subfolder=part, torch_dtype=torch.float32).eval()
        tokenizer, ids = _pieces(base, part, text)
        ids = ids[:most]
        rows: list[torch.Tensor] = []
        while ids or not rows:
            chunk, ids = ids[:75], ids[75:]
            row = [tokenizer.bos_token_id, *chunk, tokenizer.eos_token_id]
            answer = encoder(
                torch.tensor([row + [tokenizer.pad_token_id] * (77 - len(row))]), output_hidden_states=True
            )
            if sdxl:
                rows.append(answer.hidden_states[-2])
            elif layer == 1:
                rows.append(answer.last_hidden_state)
            else:
                rows.append(encoder.final_layer_norm(answer.hidden_states[-layer]))
            if len(rows) == 1:
                pooled = answer[0]
        hidden.append(torch.cat(rows, dim=1))
    return torch.cat(hidden, dim=-1), pooled if sdxl else None


def _captioned(folder: Path, *captions: str) -> Path:
    write_pictures(folder, count=len(captions))
    for file in folder.iterdir():
        if file.suffix != ".png":
            file.unlink()
    for picture, caption in zip(sorted(folder.glob("*.png")), captions, strict=True):
        picture.with_suffix(".txt").write_text(caption)
    return folder


def _conditioning(made: Prepared) -> dict[str, Any]:
    """What a batch of each picture alone is told, by caption."""
    found = {}
    for step in range(1, len(made.report.items) + 1):
        row = int(made.feed.order.batch(step - 1)[0])
        (batch,) = made.feed.step(step, 1)
        found[made.report.items[row].caption] = batch.cond()
    return found


@pytest.mark.parametrize("cached", ["on", "off"])
@pytest.mark.parametrize("most", [75, 150, 225])
@pytest.mark.parametrize("name", ["sd1", "sd2-eps", "sdxl"])
def test_long_captions_are_encoded_as_a_plain_computation_does(
    name: str, most: int, cached: str, narrow_models: dict[str, Path], tmp_path: Path
) -> None:
    base = narrow_models[name]
    assert [len(_pieces(base, "text_encoder", text)[1]) > 150 for text in (LONG, SHORT)] == [True, False]
    plan = quick_plan(
        base, _captioned(tmp_path / "pictures", LONG, SHORT), captions__max_tokens=most, train__batch_size=1,
        data__cache_text=cached, data__caption_dropout=0.0,
    )  # fmt: skip
    made = prepared(plan, tmp_path / "cache")
    painter = Painter(plan, made.adapted)
    for caption, cond in _conditioning(made).items():
        hidden, pooled = _reference(base, caption, most)
        assert hidden.shape[1] == (77 if caption == SHORT else 77 * most // 75)
        drawn = painter._cond(caption)
        for seen in (cond, drawn):
            assert seen.hidden.shape == hidden.shape
            assert float((seen.hidden - hidden).abs().max()) < 1e-5
            assert pooled is None or float((seen.extra["text_embeds"] - pooled).abs().max()) < 1e-5


@pytest.mark.parametrize("name", ["sd1", "sdxl"])
def test_in_a_batch_each_caption_has_the_effect_that_it_has_alone(
    name: str, narrow_models: dict[str, Path]
) -> None:
    family = load_family(narrow_models[name])
    family.reading = TextReading(chunks=3)
    for part in family.parts.values():
        part.float()
    texts = [SHORT, MIDDLE, LONG]
    draw = torch.Generator().manual_seed(0)
    noisy, times = torch.randn(3, 4, 8, 8, generator=draw), torch.tensor([10, 500, 900])
    sizes = [GEOMETRY[0]] * 3
    with torch.no_grad():
        cond = family.with_geometry(family.encode_text(family.tokenize(texts)), sizes)
        assert cond.hidden.shape[1] == 6 * 77
        together = family.denoise(noisy, times, cond, {})
        for at, text in enumerate(texts):
            own = family.with_geometry(family.encode_text(family.tokenize([text])), sizes[:1])
            assert own.hidden.shape[1] == (at + 1) * 77
            alone = family.denoise(noisy[at : at + 1], times[at : at + 1], own, {})
            assert float((together[at] - alone[0]).abs().max()) < 1e-5


def test_captions_within_75_tokens_train_bit_for_bit_as_they_did(
    small_sd1: Path, home: Path, tmp_path: Path
) -> None:
    pictures = _captioned(tmp_path / "pictures", SHORT, "a blue square", "a green star, at the top")
    ran = []
    for most in (75, 225):
        plan = quick_plan(small_sd1, pictures, captions__max_tokens=most, train__steps=3)
        made = prepared(plan, tmp_path / f"cache-{most}")
        ran.append(([report.loss for report in run_steps(made)], weights(made)))
    assert ran[0][0] == ran[1][0]
    assert all(torch.equal(ran[0][1][name], ran[1][1][name]) for name in ran[0][1])


@pytest.mark.parametrize(("most", "learned"), [(75, False), (150, True)])
def test_the_last_word_of_a_long_caption_is_learned_where_it_is_read(
    most: int, learned: bool, small_sd1: Path, home: Path, tmp_path: Path
) -> None:
    caption = f"{MIDDLE} <morp>"
    assert 75 < len(_pieces(small_sd1, "text_encoder", MIDDLE)[1]) < 140
    plan = quick_plan(
        small_sd1, _captioned(tmp_path / "pictures", caption, caption), captions__max_tokens=most,
        method="textual_inversion", data__trigger="<morp>", data__caption_dropout=0.0, train__steps=2,
        textual_inversion__keep_norm=False, optimizer__weight_decay=0.0,
    )  # fmt: skip
    made = prepared(plan, tmp_path / "cache")
    before = weights(made)
    run_steps(made)
    moved = [not torch.equal(value, before[name]) for name, value in weights(made).items()]
    assert moved == [learned]


@pytest.mark.parametrize("layer", [1, 2])
def test_clip_skip_reads_an_earlier_layer_with_the_final_norm(
    layer: int, narrow_models: dict[str, Path], tmp_path: Path
) -> None:
    base = narrow_models["sd1"]
    plan = quick_plan(
        base, _captioned(tmp_path / "pictures", SHORT), base__clip_skip=layer, train__batch_size=1,
        data__caption_dropout=0.0,
    )  # fmt: skip
    # One cache for both: an embedding of another layer is another entry.
    made = prepared(plan, tmp_path.parent / "shared-cache")
    (cond,) = _conditioning(made).values()
    hidden, _ = _reference(base, SHORT, 75, layer)
    assert float((cond.hidden - hidden).abs().max()) < 1e-5


def test_a_preview_with_clip_skip_is_that_of_diffusers(
    narrow_models: dict[str, Path], home: Path, tmp_path: Path
) -> None:
    base, side, steps, guidance = narrow_models["sd1"], 64, 4, 5.0
    plan = quick_plan(
        base, write_pictures(tmp_path / "pictures", count=1), base__clip_skip=2, samples__steps=steps,
        samples__guidance=guidance,
    )  # fmt: skip
    made = prepared(plan, tmp_path / "cache")
    ours = np.asarray(Painter(plan, made.adapted).picture(Prompt(0, SHORT, 9))).astype(int)
    cond: Any = None
    noise = initial_noise(made.adapted.family, PreviewRequest(cond, cond, 9, steps, guidance, side, side))
    pipeline = StableDiffusionPipeline.from_pretrained(base, torch_dtype=torch.float32, local_files_only=True)
    pipeline.scheduler = DDIMScheduler.from_config(
        pipeline.scheduler.config, timestep_spacing="trailing", clip_sample=False
    )
    pipeline.set_progress_bar_config(disable=True)
    embeds = [_reference(base, text, 75, 2)[0] for text in (SHORT, "")]
    images = pipeline(
        prompt_embeds=embeds[0], negative_prompt_embeds=embeds[1], num_inference_steps=steps,
        guidance_scale=guidance, width=side, height=side, latents=noise, output_type="pil",
    ).images  # fmt: skip
    assert np.abs(ours - np.asarray(images[0]).astype(int)).max() <= 1


@pytest.mark.parametrize(("most", "cut"), [(75, 2), (150, 1), (225, 1)])
def test_a_run_names_the_pictures_whose_captions_are_cut(
    most: int, cut: int, small_sd1: Path, home: Path, tmp_path: Path
) -> None:
    pictures = _captioned(tmp_path / "pictures", LONG, MIDDLE, SHORT)
    names = sorted(path.name for path in pictures.glob("*.png"))
    told: list[tuple[str, str]] = []
    watch = Watch()
    watch.warning = lambda code, text: told.append((code, text))  # type: ignore[method-assign]
    plan = quick_plan(small_sd1, pictures, captions__max_tokens=most, hardware__device="cpu")
    open_training(plan, watch=watch, cache=tmp_path / "cache")
    (text,) = [text for code, text in told if code == "caption-cut"]
    counted = [len(_pieces(small_sd1, "text_encoder", own)[1]) for own in (LONG, MIDDLE)]
    longer = [f"{name} ({count})" for name, count in zip(names, counted, strict=False) if count > most]
    assert len(longer) == cut and text.startswith(f"{cut} captions") and all(each in text for each in longer)
    assert names[2] not in text and ("reads up to 225" in text) is (most < 225)


@pytest.mark.parametrize(
    "options",
    [
        {"lora__text_encoder": True},
        {"method": "full", "full__text_encoder": True},
        {"method": "textual_inversion", "data__trigger": "<morp>"},
    ],
    ids=lambda options: "+".join(options),
)
def test_text_encoders_train_through_the_layer_that_is_read(
    options: dict[str, object], small_sd1: Path, home: Path, tmp_path: Path
) -> None:
    pictures = _captioned(tmp_path / "pictures", SHORT, "a <morp>")
    plan = quick_plan(
        small_sd1, pictures, base__clip_skip=2, captions__max_tokens=150, train__steps=3,
        data__caption_dropout=0.0, **options,
    )  # fmt: skip
    made = prepared(plan, tmp_path / "cache")
    before = weights(made)
    reports = run_steps(made)
    assert all(np.isfinite(report.loss) and not report.skipped for report in reports)
    text = {name: value for name, value in weights(made).items() if name.startswith("text_encoder")}
    assert text and any(not torch.equal(value, before[name]) for name, value in text.items())
