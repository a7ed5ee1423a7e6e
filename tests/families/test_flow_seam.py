"""A flow-matching transformer trains, previews and resumes through loop, feed, methods and sampling as they are."""

from __future__ import annotations

import math
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler
from peft import LoraConfig, inject_adapter_in_model
from PIL import Image
from torch import Tensor

from engine.draws import generator
from engine.errors import UserError
from engine.families.base import ModelFamily
from engine.keys import uniform
from engine.models.specs import FAMILIES
from engine.plan.schema import Plan
from engine.train import checkpoint
from engine.train.sampling import PreviewRequest, draw
from tests.families.flow import NarrowFlux, NarrowSd3, pack, unpack
from tests.support.draws import normal
from tests.support.pictures import write_pictures
from tests.support.runs import quick_plan
from tests.support.sessions import Prepared, prepared, run_steps, weights

SEED, BATCH, RANK, RATE, SIDE = 7, 2, 4, 1e-3, 64
KINDS: dict[str, type[NarrowSd3]] = {"sd3": NarrowSd3, "flux": NarrowFlux}


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> type[NarrowSd3]:
    """A family that only the tests know, registered for this test."""
    chosen = KINDS[request.param]
    monkeypatch.setitem(FAMILIES, chosen.spec.name, chosen.spec)
    return chosen


def _plan(folder: Path, **changes: object) -> Plan:
    values: dict[str, object] = {
        "seed": SEED,
        "train__steps": 3,
        "train__batch_size": BATCH,
        "train__learning_rate": RATE,
        "lora__rank": RANK,
        "lora__alpha": float(RANK),
        "data__caption_dropout": 0.0,
    }
    return quick_plan("narrow", folder, **values | changes)


def _randn(purpose: str, step: int, slot: int) -> Tensor:
    return normal(SEED, purpose, step, slot, (16, 8, 8))


def _velocity(
    family: ModelFamily, noisy: Tensor, sigma: Tensor, cond: tuple[Tensor, Tensor], guidance: float = 1.0
) -> Tensor:
    """What the transformer answers, asked as diffusers' pipelines ask it."""
    net: Any = family.denoiser
    if isinstance(family, NarrowFlux):
        row, column = torch.arange(4).repeat_interleave(4), torch.arange(4).repeat(4)
        answer = net(
            pack(noisy),
            timestep=sigma,
            guidance=torch.full((len(noisy),), guidance),
            pooled_projections=cond[1],
            encoder_hidden_states=cond[0],
            txt_ids=torch.zeros(77, 3),
            img_ids=torch.stack([torch.zeros(16), row, column], dim=1),
        )
        return unpack(answer.sample, 16, 8, 8)
    answer = net(noisy, timestep=1000 * sigma, encoder_hidden_states=cond[0], pooled_projections=cond[1])
    return answer.sample  # type: ignore[no-any-return]


def _text(family: NarrowSd3, text: str) -> tuple[Tensor, Tensor]:
    encoder: Any = family.parts["text_encoder"]
    tokens = family.tokenizers["text_encoder"](text, padding="max_length", max_length=77, return_tensors="pt")
    found = encoder(tokens.input_ids, output_hidden_states=True)
    return found.hidden_states[-2], found.text_embeds


def _shift(family: ModelFamily) -> float:
    tokens = (SIDE / 16) ** 2
    return math.exp(0.5 + (tokens - 256) * 0.65 / 3840) if isinstance(family, NarrowFlux) else 3.0


def _plain(family: NarrowSd3, folder: Path, orders: list[list[int]]) -> list[float]:
    """Losses of three steps from torch, diffusers and peft alone."""
    net = family.denoiser
    endings = (".to_q", ".to_k", ".to_v")
    names = [name for name, _ in net.named_modules() if name.endswith(endings)]
    inject_adapter_in_model(LoraConfig(r=RANK, lora_alpha=RANK, target_modules=names), net)
    lora = {name: value for name, value in net.named_parameters() if "lora_" in name}
    for name, value in lora.items():
        if "lora_A" in name:
            law = generator(SEED, "init", f"transformer.{name}")
            torch.nn.init.kaiming_uniform_(value.data, a=math.sqrt(5), generator=law)
        value.requires_grad_(True)
    optimizer = torch.optim.AdamW(list(lora.values()), lr=RATE, weight_decay=0.01)
    vae: Any = family.parts["vae"]
    files, shift, losses = sorted(folder.glob("*.png")), _shift(family), []
    for step, rows in enumerate(orders, 1):
        total = torch.zeros(())
        for slot, row in enumerate(rows):
            pixels = torch.from_numpy(np.array(Image.open(files[row]).convert("RGB"))).float() / 127.5 - 1
            posterior = vae.encode(pixels.permute(2, 0, 1)[None]).latent_dist
            latent = (posterior.mean + posterior.std * _randn("latent", step, slot) - 0.0609) * 1.5305
            noise = _randn("noise", step, slot)[None]
            drawn = uniform(SEED, "timestep", step, slot)
            share = torch.tensor([1 / (1 + math.exp(-NormalDist().inv_cdf(drawn)))])
            sigma = shift * share / (1 + (shift - 1) * share)
            noisy = (1 - sigma) * latent + sigma * noise
            cond = _text(family, files[row].with_suffix(".txt").read_text())
            total = total + ((_velocity(family, noisy, sigma, cond) - (noise - latent)) ** 2).mean() / BATCH
        optimizer.zero_grad()
        total.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(list(lora.values()), 1.0)
        optimizer.step()
        losses.append(float(total.detach()))
    return losses


def test_three_steps_equal_a_plain_computation(kind: type[NarrowSd3], tmp_path: Path) -> None:
    folder = write_pictures(tmp_path / "pictures", count=5)
    made = prepared(_plan(folder), tmp_path / "cache", kind(tmp_path / "tokenizer"))
    losses = [report.loss for report in run_steps(made)]
    orders = [[int(row) for row in made.feed.order.batch(index)] for index in range(3)]
    expected = _plain(kind(tmp_path / "tokenizer"), folder, orders)
    assert max(abs(one - other) for one, other in zip(losses, expected, strict=True)) < 1e-5
    assert len({*losses}) == 3


@pytest.mark.parametrize("text", [False, True])
def test_a_lora_resumes_bit_for_bit(kind: type[NarrowSd3], text: bool, tmp_path: Path) -> None:
    plan = _plan(write_pictures(tmp_path / "pictures"), train__steps=4, lora__text_encoder=text)

    def made() -> Prepared:
        return prepared(plan, tmp_path / "cache", kind(tmp_path / "tokenizer"))

    straight, first, second = made(), made(), made()
    losses = [report.loss for report in run_steps(straight)]
    run_steps(first, until=2)
    state = {"loop": first.loop.state()}
    saved, _ = checkpoint.save(tmp_path / "at", 2, first.adapted.trainables, first.loop.optimizer, state)
    found = checkpoint.load(saved, second.adapted.trainables, second.loop.optimizer)
    second.loop.restore(found["loop"])
    assert [report.loss for report in run_steps(second, start=2)] == losses[2:]
    ours, theirs = weights(second), weights(straight)
    assert ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)
    parts = {item.module for item in straight.adapted.trainables}
    assert parts == ({"transformer", "text_encoder"} if text else {"transformer"})


@pytest.mark.parametrize("guidance", [1.0, 4.0])
def test_a_preview_is_eulers_method(kind: type[NarrowSd3], guidance: float, tmp_path: Path) -> None:
    family, steps, seed = kind(tmp_path / "tokenizer"), 5, 11
    cond = family.encode_text(family.tokenize(["a picture"]))
    request = PreviewRequest(
        cond, family.encode_text(family.tokenize([""])), seed, steps, guidance, SIDE, SIDE
    )
    with torch.no_grad():
        ours = draw(family, request, torch.device("cpu"))
        theirs = _euler(family, guidance, steps, seed)
    assert float(theirs.std()) > 0.01
    assert float((ours - theirs).abs().max()) < 1e-4


def _euler(family: NarrowSd3, guidance: float, steps: int, seed: int) -> Tensor:
    scheduler = FlowMatchEulerDiscreteScheduler(shift=_shift(family))
    scheduler.set_timesteps(sigmas=[1 - index / steps for index in range(steps)])
    latents = normal(seed, "preview", 0, 0, (1, 16, 8, 8))
    prompt, negative = _text(family, "a picture"), _text(family, "")
    for time in scheduler.timesteps:
        sigma = time.expand(1) / 1000
        velocity = _velocity(family, latents, sigma, prompt, guidance)
        if guidance > 1 and not isinstance(family, NarrowFlux):
            without = _velocity(family, latents, sigma, negative)
            velocity = without + guidance * (velocity - without)
        latents = scheduler.step(velocity, time, latents).prev_sample
    vae: Any = family.parts["vae"]
    picture: Tensor = vae.decode(latents / 1.5305 + 0.0609).sample[0].clamp(-1, 1)
    return picture


def test_what_a_flow_lacks_is_refused_by_name(kind: type[NarrowSd3], tmp_path: Path) -> None:
    family = kind(tmp_path / "tokenizer")
    with pytest.raises(UserError, match="min-SNR"):
        family.schedule.snr(torch.ones(1))
    for ask in (lambda: family.new_controlnet(3), lambda: family.renew_denoiser([8], 0)):
        with pytest.raises(UserError, match=family.spec.title):
            ask()
