"""Stalled, the pace and the time left follow from the times of the last steps."""

from __future__ import annotations

import math

import pytest

from engine.run.view import RunView, eta_s, fold, seconds_per_step, state
from tests.support.events import event, step


def paced(seconds: float, steps: int = 3) -> RunView:
    return fold(
        [
            event("started", total_steps=100),
            *(step(number, 100 + seconds * number) for number in range(1, steps + 1)),
        ]
    )


@pytest.mark.parametrize(
    ("seconds", "silent_s", "expected"),
    [
        (1, 60, "running"),
        (1, 60.5, "stalled"),
        (11, 60, "running"),
        (11, 60.5, "stalled"),
        (20, 99, "running"),
        (20, 100, "running"),
        (20, 100.5, "stalled"),
        (600, 2999, "running"),
        (600, 3001, "stalled"),
    ],
)
def test_a_run_is_stalled_after_a_minute_or_five_of_its_own_steps(
    seconds: float, silent_s: float, expected: str
) -> None:
    view = paced(seconds)
    assert state(view, True, 100 + 3 * seconds + silent_s) == expected


def test_the_pace_is_that_of_the_last_500_steps() -> None:
    slow = [step(number, 10.0 * number) for number in range(1, 1001)]
    fast = [step(1000 + number, 10_000.0 + number) for number in range(1, 499)]
    assert seconds_per_step(fold([*slow, *fast])) == pytest.approx((498 + 10) / 499)
    assert seconds_per_step(fold([*slow, *fast, step(1499, 10_499.0)])) == 1.0
    assert seconds_per_step(fold([*slow, *fast, step(1499, 10_499.0), step(1500, 10_500.0)])) == 1.0


@pytest.mark.parametrize("kind", ["launched", "unpaused", "resumed"])
def test_the_pace_is_measured_from_the_last_interruption(kind: str) -> None:
    view = fold([event(kind, 900.0, from_step=3)], paced(2))
    assert seconds_per_step(view) is None
    assert seconds_per_step(fold([step(4, 901.0)], view)) is None
    assert seconds_per_step(fold([step(4, 901.0), step(5, 904.0)], view)) == 3.0


def test_the_pace_bears_clocks_that_go_back_and_stand_still() -> None:
    assert seconds_per_step(fold([step(1, 50.0), step(2, 40.0)])) is None
    assert seconds_per_step(fold([step(1, 50.0), step(2, 50.0)])) == 0.0
    assert seconds_per_step(fold([step(1, math.nan), step(2, 50.0)])) is None


def test_the_pace_after_a_resume_counts_only_steps_of_this_attempt() -> None:
    view = fold([event("resumed", 900.0, from_step=1), step(2, 910.0), step(3, 915.0)], paced(2, steps=5))
    assert seconds_per_step(view) == 5.0


def test_the_time_left_needs_a_total_and_a_pace_and_never_grows_while_waiting() -> None:
    view = paced(2, steps=10)  # the last step at 120, 90 to go
    assert eta_s(view, 119.0) == eta_s(view, 120.0) == 180.0
    assert eta_s(view, 122.0) == eta_s(view, 500.0) == 178.0
    assert eta_s(fold([step(number) for number in (1, 2, 3)]), 103.0) is None
    over = fold([step(101)], view)
    assert eta_s(over, 201.0) == 0.0


def test_the_previews_of_the_last_step_are_part_of_the_time_that_is_left() -> None:
    """Ten steps a second apart; the previews of step 5 took 20 s, and those of step 10 are still to come."""
    events = [event("started", total_steps=10), *(step(number, 100.0 + number) for number in range(1, 6))]
    events += [event("sample", t, step=5, index=index, path="p") for index, t in enumerate((115.0, 125.0))]
    events += [step(number, 119.0 + number) for number in range(6, 9)]
    view = fold(events)
    pace = seconds_per_step(view)
    assert pace is not None
    assert eta_s(view, 127.0) == pytest.approx(2 * pace + 20.0)
    last = fold([*events, step(9, 128.0), step(10, 129.0)])
    assert eta_s(last, 129.0) == pytest.approx(20.0)
    assert eta_s(last, 140.0) == pytest.approx(9.0)
    assert eta_s(last, 200.0) == 0.0
    assert (
        eta_s(fold([*events, step(10, 129.0), event("finished", 150.0, step=10, seconds=50.0)]), 150.0) == 0.0
    )
