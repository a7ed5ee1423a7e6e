"""The min/max pyramid and the smoothing, against plain computations."""

import math
import random

import pytest

from sdtrain_tui.widgets.series import MinMaxPyramid, SmoothedSeries

NAN = math.nan


def noisy(size: int, seed: int = 0) -> list[float]:
    rng = random.Random(seed)
    return [NAN if rng.random() < 0.05 else rng.gauss(0, 1) for _ in range(size)]


def plain_extremes(values: list[float]) -> tuple[float, float] | None:
    finite = [value for value in values if math.isfinite(value)]
    return (min(finite), max(finite)) if finite else None


def plain_ema(values: list[float], factor: float) -> list[float]:
    """TensorBoard's formula, written out."""
    last, count, out = 0.0, 0, []
    for value in values:
        if not math.isfinite(value):
            out.append(NAN)
            continue
        last = last * factor + (1 - factor) * value
        count += 1
        out.append(last / (1 - factor**count))
    return out


def check(pyramid: MinMaxPyramid, values: list[float], seed: int) -> None:
    rng = random.Random(seed)
    assert len(pyramid) == len(values)
    for _ in range(300):
        start = rng.randint(-5, len(values))
        stop = rng.randint(start, len(values) + 5)
        assert pyramid.extremes(start, stop) == plain_extremes(values[max(0, start) : max(0, stop)])


@pytest.mark.parametrize("size", [0, 1, 7, 8, 9, 63, 64, 65, 511, 512, 513, 5000])
def test_extremes_of_any_range_are_those_of_its_values(size: int) -> None:
    values = noisy(size)
    check(MinMaxPyramid(values), values, size)


def test_a_long_series_added_at_once_equals_one_added_singly() -> None:
    values = noisy(30_000)
    bulk, single = MinMaxPyramid(values), MinMaxPyramid()
    for value in values:
        single.append(value)
    check(bulk, values, 1)
    bulk.extend(values[:100])
    check(bulk, values + values[:100], 2)
    assert bulk.columns(0, 30_000 / 77, 77) == single.columns(0, 30_000 / 77, 77)


@pytest.mark.parametrize("kept", [0, 1, 63, 64, 500, 4096, 4999])
def test_truncation_forgets_all_that_came_later(kept: int) -> None:
    values = noisy(5000)
    pyramid = MinMaxPyramid(values)
    pyramid.truncate(kept)
    check(pyramid, values[:kept], kept)
    pyramid.extend(values[:1000])
    check(pyramid, values[:kept] + values[:1000], kept)


def test_columns_leave_no_value_out() -> None:
    values = [0.0] * 100_000
    pyramid = MinMaxPyramid(values)
    for spike in (0, 17, 1023, 1024, 50_001, 99_999):
        changed = list(values)
        changed[spike] = 9.0
        columns = MinMaxPyramid(changed).columns(0, 100_000 / 140, 140)
        assert sum(pair is not None and pair[1] == 9.0 for pair in columns) == 1
    assert pyramid.columns(200_000, 10, 3) == [None, None, None]


def test_a_gap_of_values_that_are_not_finite_is_no_extreme() -> None:
    assert MinMaxPyramid([1.0, NAN, math.inf, 2.0]).extremes(0, 4) == (1.0, 2.0)
    assert MinMaxPyramid([NAN] * 20).extremes(0, 20) is None


@pytest.mark.parametrize("factor", [0.0, 0.5, 0.9, 0.999])
def test_smoothing_is_tensorboards(factor: float) -> None:
    values = noisy(500)
    series = SmoothedSeries(factor)
    series.extend(values[:200])
    series.extend(values[200:])
    assert list(series.smooth.values) == pytest.approx(plain_ema(values, factor), nan_ok=True)


def test_a_resume_and_a_new_factor_smooth_as_if_nothing_else_had_been() -> None:
    values = noisy(400)
    series = SmoothedSeries(0.9)
    series.extend(values)
    series.truncate(150)
    series.extend(values[:50])
    assert list(series.smooth.values) == pytest.approx(
        plain_ema(values[:150] + values[:50], 0.9), nan_ok=True
    )
    series.set_factor(0.5)
    assert series.smooth[199] == pytest.approx(plain_ema(values[:150] + values[:50], 0.5)[199], nan_ok=True)


def test_the_first_smoothed_value_is_the_first_value() -> None:
    series = SmoothedSeries(0.99)
    series.extend([3.0])
    assert series.smooth[0] == pytest.approx(3.0)
