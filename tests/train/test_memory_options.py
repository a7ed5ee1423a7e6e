"""What each option that saves memory changes: nothing where it may not, and never what a resume gives."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from engine.plan.schema import Plan
from engine.train import offload
from engine.train.opening import open_training
from engine.train.training import Training
from tests.support.runs import quick_plan
from tests.support.sessions import Warnings

EQUAL: dict[str, dict[str, object]] = {
    "idle parts on the CPU": {"hardware__idle_parts": "cpu"},
    "previews in tiles": {"hardware__vae_tiling": "decode"},
    "checkpointing of three blocks": {
        "hardware__gradient_checkpointing": True,
        "hardware__checkpointed_blocks": 3,
    },
    "swapped blocks": {"hardware__swapped_blocks": 5},
    "swapped blocks, checkpointed": {
        "hardware__swapped_blocks": 1000,
        "hardware__gradient_checkpointing": True,
    },
    "offloaded activations": {"hardware__offload_activations": True},
    "all of them": {
        "hardware__idle_parts": "cpu",
        "hardware__offload_activations": True,
        "hardware__swapped_blocks": 7,
        "hardware__gradient_checkpointing": True,
        "hardware__checkpointed_blocks": 2,
    },
}
"""Options that give the same weights, bit for bit."""


def opened(plan: Plan, cache: Path) -> Training:
    torch.set_num_threads(1)
    return open_training(plan, watch=Warnings(), cache=cache, checked=True)


def learned(training: Training) -> dict[str, torch.Tensor]:
    return {item.name: item.parameter.detach().clone() for item in training.adapted.trainables}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("memory")


@pytest.fixture(scope="module")
def data(folder: Path) -> Path:
    from tests.support.pictures import write_pictures

    return write_pictures(folder / "pictures", wide=2)


@pytest.fixture(scope="module")
def plain(sd1_folder: Path, folder: Path, data: Path) -> tuple[dict[str, torch.Tensor], np.ndarray]:
    """The weights after 6 updates without any option, and a preview of them."""
    with opened(quick_plan(sd1_folder, data, samples__steps=2), folder / "cache") as training:
        training.train()
        return learned(training), np.asarray(training.preview())


@pytest.mark.parametrize("name", EQUAL)
def test_three_updates_a_resume_and_three_more_are_the_plain_six(
    name: str,
    sd1_folder: Path,
    folder: Path,
    data: Path,
    tmp_path: Path,
    plain: tuple[dict[str, torch.Tensor], np.ndarray],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(offload, "LEAST_BYTES", 0)
    plan = quick_plan(sd1_folder, data, samples__steps=2, **EQUAL[name])
    with opened(plan, folder / "cache") as training:
        training.train(3)
        saved = training.save(tmp_path)
    with opened(plan, folder / "cache") as training:
        training.resume(saved)
        training.train()
        found = learned(training)
        assert all(torch.equal(found[key], value) for key, value in plain[0].items())
        if "parts" in name or "previews" in name or "all" in name:
            assert np.array_equal(np.asarray(training.preview()), plain[1])


def test_a_run_whose_memory_runs_out_takes_one_measure_after_the_other_and_learns_the_same(
    sd1_folder: Path,
    folder: Path,
    data: Path,
    plain: tuple[dict[str, torch.Tensor], np.ndarray],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(offload, "LEAST_BYTES", 0)
    watch = Warnings()
    plan = quick_plan(sd1_folder, data, hardware__idle_parts="keep")
    torch.set_num_threads(1)
    with open_training(plan, watch=watch, cache=folder / "cache", checked=True) as training:
        loop, left = training.loop, [1, 1, 2, 3]
        real = loop._step

        def step(number: int) -> torch.Tensor:
            if number in left:
                left.remove(number)
                raise torch.OutOfMemoryError("CUDA out of memory")
            return real(number)

        # Pieces of one picture add gradients up in another order: here a batch stays whole.
        monkeypatch.setattr(loop, "limit", 1)
        monkeypatch.setattr(loop, "_step", step)
        monkeypatch.setattr(loop.feed, "step", lambda at, limit, each=loop.feed.step: each(at, 2))
        training.train(4)
        adapted = training.adapted
        assert watch.codes == ["memory-saved"] * 4
        assert adapted.idle.away == {"vae", "text_encoder"} and adapted.offload.activations
        assert adapted.offload.swapped == len(adapted.family.blocks_to_swap()) and adapted.offload.most <= 2
        assert all(
            getattr(block, "gradient_checkpointing", True) for block in adapted.family.parts["unet"].modules()
        )
        training.train(1)
        saved = training.save(folder / "saved")
        with open_training(plan, watch=Warnings(), cache=folder / "cache", checked=True) as other:
            other.resume(saved)
            assert other.loop.sparing.taken == 4 and other.adapted.offload.activations
            assert other.adapted.idle.away == {"vae", "text_encoder"}
            monkeypatch.setattr(
                other.loop.feed, "step", lambda at, limit, each=other.loop.feed.step: each(at, 2)
            )
            other.train()
            again = learned(other)
            assert all(torch.equal(again[key], value) for key, value in plain[0].items())
        left.append(6)
        with pytest.raises(torch.OutOfMemoryError):
            training.train()
        left.clear()
        training.train()
        found = learned(training)
        assert all(torch.equal(found[key], value) for key, value in plain[0].items())


def test_with_fit_off_the_error_is_the_users(sd1_folder: Path, folder: Path, data: Path) -> None:
    with opened(quick_plan(sd1_folder, data, hardware__fit="off"), folder / "cache") as training:
        assert training.loop.sparing.spare() is None
