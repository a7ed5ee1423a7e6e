"""Buckets: sizes keep to the area and the step, and a picture gets the nearest shape."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.dataset import buckets
from engine.errors import UserError

RESOLUTIONS = st.sampled_from([16, 64, 96, 128, 200, 256, 512, 768, 1024])


@given(RESOLUTIONS)
def test_every_size_keeps_to_the_step_and_the_area(resolution: int) -> None:
    step = buckets.default_step(resolution)
    table = buckets.sizes(resolution)
    assert (resolution, resolution) in table
    for width, height in table:
        assert width % step == 0 and height % step == 0
        assert width * height <= resolution * resolution
        assert (height, width) in table


@given(RESOLUTIONS, st.integers(1, 9000), st.integers(1, 9000))
def test_no_other_size_has_a_nearer_shape(resolution: int, width: int, height: int) -> None:
    def distance(size: tuple[int, int]) -> float:
        return abs(math.log(size[0] / size[1]) - math.log(width / height))

    size = buckets.assign(width, height, resolution)
    assert distance(size) <= min(distance(other) for other in buckets.sizes(resolution)) + 1e-9


@given(RESOLUTIONS, st.integers(1, 9000), st.integers(1, 9000))
def test_a_turned_picture_gets_a_size_of_the_same_distance(resolution: int, width: int, height: int) -> None:
    size, turned = buckets.assign(width, height, resolution), buckets.assign(height, width, resolution)
    assert math.isclose(
        abs(math.log(size[0] / size[1] / width * height)),
        abs(math.log(turned[1] / turned[0] / width * height)),
        abs_tol=1e-9,
    )


def test_squares_stay_squares_and_small_resolutions_go_in_steps_of_eight() -> None:
    assert buckets.assign(1000, 1000, 512) == (512, 512)
    assert buckets.assign(64, 64, 64) == (64, 64)
    assert buckets.assign(100, 80, 64) == (72, 56)
    assert buckets.assign(600, 400, 512) == (640, 384)
    assert buckets.assign(10000, 10, 512) == (1024, 256)


def test_a_step_of_64_is_not_forced_on_a_resolution_it_does_not_divide() -> None:
    assert buckets.assign(500, 500, 200) == (200, 200)


def test_a_resolution_that_the_vae_cannot_take_is_refused_with_the_next_one_that_it_can() -> None:
    with pytest.raises(UserError) as caught:
        buckets.default_step(500)
    assert "500" in caught.value.what and "496" in caught.value.fix


def test_enlargement_and_cut_are_those_of_covering() -> None:
    assert buckets.upscale(256, 512, (512, 512)) == 2.0
    assert buckets.upscale(2048, 1024, (512, 512)) == 0.5
    assert buckets.cut(1024, 512, (512, 512)) == pytest.approx(0.5)
    assert buckets.cut(512, 512, (512, 512)) == 0
