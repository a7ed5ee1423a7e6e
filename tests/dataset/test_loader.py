"""Batches: every picture in every epoch, whole batches of one size, and the same order from any starting point."""

from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.dataset.loader import BatchPlan

SIZES = st.lists(st.sampled_from([(64, 64), (72, 56), (56, 72), (80, 48)]), min_size=1, max_size=40)


def epoch_of(plan: BatchPlan, number: int) -> list[list[int]]:
    start = number * len(plan)
    return [plan.batch(index).tolist() for index in range(start, start + len(plan))]


@given(SIZES, st.integers(1, 9), st.integers(0, 3), st.data())
def test_every_epoch_draws_every_picture_as_often_as_it_is_repeated(
    sizes: list[tuple[int, int]], batch_size: int, epoch: int, data: st.DataObject
) -> None:
    repeats = data.draw(st.lists(st.integers(1, 3), min_size=len(sizes), max_size=len(sizes)))
    plan = BatchPlan(sizes, batch_size, seed=5, repeats=repeats)
    batches = epoch_of(plan, epoch)
    drawn = Counter(index for batch in batches for index in batch)
    assert all(drawn[index] >= repeats[index] for index in range(len(sizes)))
    assert plan.draws_per_epoch == sum(repeats)
    assert sum(drawn.values()) == len(plan) * batch_size == plan.draws_per_epoch + plan.filled_per_epoch
    for batch in batches:
        assert len(batch) == batch_size
        assert len({sizes[index] for index in batch}) == 1


@given(SIZES, st.integers(1, 9))
def test_the_filling_is_less_than_a_batch_a_bucket_and_spread_evenly(
    sizes: list[tuple[int, int]], batch_size: int
) -> None:
    plan = BatchPlan(sizes, batch_size, seed=5)
    assert {bucket.size for bucket in plan.buckets} == set(sizes)
    for bucket in plan.buckets:
        assert bucket.filled < batch_size and bucket.images == sizes.count(bucket.size)
    drawn = Counter(index for batch in epoch_of(plan, 0) for index in batch)
    for size in set(sizes):
        often = [drawn[index] for index, other in enumerate(sizes) if other == size]
        assert max(often) - min(often) <= 1


@given(SIZES, st.integers(1, 5), st.integers(0, 200))
def test_a_batch_does_not_depend_on_which_were_asked_for_before(
    sizes: list[tuple[int, int]], batch_size: int, number: int
) -> None:
    walked = BatchPlan(sizes, batch_size, seed=9)
    for index in range(number):
        walked.batch(index)
    assert walked.batch(number).tolist() == BatchPlan(sizes, batch_size, seed=9).batch(number).tolist()
    assert walked.batch(0).tolist() == BatchPlan(sizes, batch_size, seed=9).batch(0).tolist()


def test_changing_a_returned_batch_does_not_change_the_plan() -> None:
    plan = BatchPlan([(64, 64)] * 8, 4, seed=1)
    first = plan.batch(0).tolist()
    plan.batch(0)[:] = 0
    assert plan.batch(0).tolist() == first


def test_epochs_and_seeds_have_different_orders() -> None:
    sizes = [(64, 64)] * 50
    plan = BatchPlan(sizes, 5, seed=1)
    assert len({str(epoch_of(plan, epoch)) for epoch in range(10)}) == 10
    assert len({str(epoch_of(BatchPlan(sizes, 5, seed=seed), 0)) for seed in range(10)}) == 10
    assert plan.epoch(9) == 0 and plan.epoch(10) == 1


def test_batches_of_different_buckets_are_mixed() -> None:
    sizes = [(64, 64)] * 100 + [(72, 56)] * 100
    order = [batch[0] < 100 for batch in epoch_of(BatchPlan(sizes, 4, seed=3), 0)]
    changes = sum(one != other for one, other in pairwise(order))
    assert 12 < changes < 38


def test_another_bucket_does_not_change_which_pictures_come_together() -> None:
    few = {tuple(batch) for batch in epoch_of(BatchPlan([(64, 64)] * 12, 4, seed=3), 1)}
    more = {tuple(batch) for batch in epoch_of(BatchPlan([(64, 64)] * 12 + [(72, 56)] * 6, 4, seed=3), 1)}
    assert few < more


def test_the_filling_falls_on_different_pictures_in_different_epochs() -> None:
    plan = BatchPlan([(64, 64)] * 5, 4, seed=3)
    filled = Counter[int]()
    for epoch in range(200):
        drawn = Counter(index for batch in epoch_of(plan, epoch) for index in batch)
        filled.update(index for index, often in drawn.items() if often > 1)
    assert set(filled) == set(range(5)) and min(filled.values()) > 80  # 120 expected


def test_one_picture_makes_whole_batches() -> None:
    plan = BatchPlan([(64, 64)], 4, seed=1)
    assert len(plan) == 1 and plan.batch(7).tolist() == [0, 0, 0, 0]
    assert plan.filled_per_epoch == 3


def test_the_order_is_the_same_for_ever() -> None:
    # Changing it breaks the resuming of every run that exists.
    plan = BatchPlan([(64, 64)] * 5 + [(72, 56)] * 2, 2, seed=42)
    assert epoch_of(plan, 0) == [[0, 1], [1, 4], [3, 2], [5, 6]]
    assert epoch_of(plan, 1) == [[1, 2], [0, 1], [6, 5], [4, 3]]


def test_half_a_million_pictures_are_kept_as_numbers() -> None:
    sizes = np.random.default_rng(0).integers(4, 9, (500_000, 2)) * 64
    plan = BatchPlan(sizes, 16, seed=1)
    seen = np.concatenate([plan.batch(index) for index in range(len(plan))])
    assert len(np.unique(seen)) == 500_000
    assert len(seen) - 500_000 == plan.filled_per_epoch < 25 * 16


def test_a_picture_of_no_repeats_is_not_drawn_and_nothing_to_draw_is_an_error() -> None:
    plan = BatchPlan([(64, 64)] * 3, 1, seed=1, repeats=[1, 0, 2])
    assert Counter(index for (index,) in epoch_of(plan, 0)) == {0: 1, 2: 2}
    for sizes, batch_size, repeats in (
        ([], 1, 1),
        ([(64, 64)], 0, 1),
        ([(64, 64)], 1, 0),
        ([(64, 64)], 1, -1),
    ):
        with pytest.raises(ValueError, match="needs"):
            BatchPlan(sizes, batch_size, 1, repeats)
