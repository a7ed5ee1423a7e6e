"""Two processes that train together draw and add up to what one does alone; a sample's weight may be a map."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor

from engine.dataset.report import Item
from engine.families.variance_preserving import VariancePreserving
from engine.plan.objective import Objective
from engine.train import extras
from engine.train.latents import Crop
from engine.train.loop import Batch
from engine.train.objective import sample_losses
from engine.train.world import World
from tests.support.runs import quick_plan
from tests.support.sessions import Prepared, prepared, run_steps, weights


class Threads:
    """Ranks that are threads of one process: each waits for the other's tensors and adds both up in one order."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.barrier = threading.Barrier(size, timeout=120)
        self.given: list[Sequence[Tensor]] = [()] * size
        self.gradients: list[Tensor] = []

    def member(self, rank: int) -> World:
        return _Member(self, rank)


class _Member:
    def __init__(self, threads: Threads, rank: int) -> None:
        self.threads = threads
        self.rank = rank
        self.size = threads.size

    def add_up(self, tensors: Sequence[Tensor]) -> None:
        self.threads.given[self.rank] = [tensor.clone() for tensor in tensors]
        self.threads.barrier.wait()
        for index, tensor in enumerate(tensors):
            tensor.copy_(sum(given[index] for given in self.threads.given))  # type: ignore[arg-type]
        if self.rank == 0:
            self.threads.gradients = [tensor.clone() for tensor in tensors]
        self.threads.barrier.wait()


def by_slot(batches: Sequence[Batch]) -> dict[int, tuple[Tensor, ...]]:
    """What each slot shows: latents and caption."""
    return {
        slot: (batch.mean[at], batch.std[at], batch.cond().hidden[at], batch.weights[at])
        for batch in batches
        for at, slot in enumerate(batch.slots)
    }


def test_two_ranks_show_what_one_does_and_add_up_to_its_gradients(
    small_sd1: Path, pictures: Path, tmp_path: Path
) -> None:
    """Batches of three, so that the ranks have two samples and one, and the other way round."""
    plan = quick_plan(
        small_sd1,
        pictures,
        train__batch_size=3,
        train__gradient_accumulation=2,
        train__steps=2,
        data__flip=True,
        data__caption_dropout=0.4,
    )
    one = prepared(plan, tmp_path / "cache")
    threads = Threads(2)
    ranks = [prepared(plan, tmp_path / "cache", world=threads.member(rank)) for rank in (0, 1)]
    alone = by_slot(list(one.feed.step(1, 3)))
    parts = [by_slot(list(made.feed.step(1, 3))) for made in ranks]
    assert [sorted(part) for part in parts] == [[0, 2, 4], [1, 3, 5]]
    for slot, shown in {**parts[0], **parts[1]}.items():
        assert all(torch.equal(ours, theirs) for ours, theirs in zip(shown, alone[slot], strict=True))

    losses: dict[int, list[float]] = {}

    def train(rank: int, made: Prepared) -> None:
        losses[rank] = [report.loss for report in run_steps(made)]

    workers = [threading.Thread(target=train, args=each) for each in enumerate(ranks)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert losses[0] == losses[1] == pytest.approx([report.loss for report in run_steps(one)], rel=1e-5)
    own = [item.parameter.grad for item in one.adapted.trainables]
    summed = [item.parameter.grad for item in ranks[0].adapted.trainables]
    for ours, theirs in zip(own, summed, strict=True):
        assert ours is not None
        assert theirs is not None
        assert torch.allclose(ours, theirs, atol=1e-6)
    for name, value in weights(ranks[0]).items():
        assert torch.equal(value, weights(ranks[1])[name])


@pytest.mark.parametrize("objective", [Objective(), Objective(loss="huber", min_snr_gamma=5.0)])
def test_a_weight_may_be_a_map_over_the_latents(objective: Objective) -> None:
    draw = torch.Generator().manual_seed(0)
    prediction, target = torch.randn(2, 2, 4, 8, 8, generator=draw)
    times = torch.tensor([100, 700])
    schedule = VariancePreserving.from_config({"beta_schedule": "scaled_linear", "num_train_timesteps": 1000})

    def losses(given: Tensor) -> Tensor:
        return sample_losses(prediction, target, times, schedule, objective, given)

    assert torch.equal(losses(torch.ones(2, 1, 8, 8)), losses(torch.ones(2)))
    assert torch.allclose(losses(torch.full((2, 1, 8, 8), 0.25)), losses(torch.full((2,), 0.25)))
    left = torch.zeros(2, 1, 8, 8)
    left[..., :4] = 1
    assert torch.allclose(losses(left) + losses(1 - left), losses(torch.ones(2)))
    prediction[..., 4:] = torch.nan
    assert not torch.isfinite(losses(torch.ones(2))).any()


class Halves:
    """A source of masks that only every second picture has."""

    def __init__(self, items: Sequence[Item]) -> None:
        self.items = items[::2]

    def rows(
        self, items: Sequence[Item], flips: Sequence[bool], crops: Sequence[Crop]
    ) -> Mapping[str, Tensor]:
        return {
            "halves": torch.tensor(
                [[float(len(item.rel)), flip] for item, flip in zip(items, flips, strict=True)]
            )
        }

    def for_previews(
        self, prompts: Sequence[str], size: tuple[int, int], folder: Path | None
    ) -> Sequence[Mapping[str, Tensor]]:
        return [{"halves": torch.zeros(1, 2)} for _ in prompts]


def test_a_source_from_another_part_of_the_data_set_is_asked_like_conditions(
    small_sd1: Path, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        extras, "MAKERS", (*extras.MAKERS, lambda plan, report, cache, progress: Halves(report.items))
    )
    plan = quick_plan(small_sd1, pictures)
    made = prepared(plan, tmp_path / "cache")
    assert list(made.feed.items) == list(made.report.items[::2])
    (batch,) = made.feed.step(1, 2)
    assert batch.extra["halves"].shape == (2, 2)
    assert extras.preview_extras(made.feed.extras, plan, ["a", "b"], tmp_path)[1].keys() == {"halves"}
    assert run_steps(made, until=1)
