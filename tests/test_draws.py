"""Keyed draws: the numbers that are documented, from the whole key, and no two alike."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from engine import draws
from engine.keys import key, wide_key
from tests.support import draws as plain

KNOWN = {  # Random123's published answers for Philox4x64-10: counter, key, block
    "zeros": ([0] * 4, 0, [0x16554D9ECA36314C, 0xDB20FE9D672D0FDC, 0xD7E772CEE186176B, 0x7E68B68AEC7BA23B]),
    "ones": ([2**64 - 1] * 4, 2**128 - 1,
             [0x87B092C3013FE90B, 0x438C3C67BE8D0224, 0x9CC7D7C69CD777B6, 0xA09CAEBF594F0BA0]),
}  # fmt: skip


@pytest.mark.parametrize("name", KNOWN)
def test_the_tests_own_philox_gives_the_published_blocks(name: str) -> None:
    counter, wide, block = KNOWN[name]
    assert list(plain.philox(counter, wide)) == block


@pytest.mark.parametrize("shape", [(4, 8, 8), (4, 1, 1), (3, 5), (1,)])
@pytest.mark.parametrize("seed", [0, 42, 2**63 - 1])
def test_noise_is_what_its_description_says(seed: int, shape: tuple[int, ...]) -> None:
    found = draws.normal(seed, "noise", 100_000, [0, 7], shape)
    for row, slot in zip(found, (0, 7), strict=True):
        assert torch.allclose(row, plain.normal(seed, "noise", 100_000, slot, shape), atol=1e-6)


def test_other_numbers_have_another_version() -> None:
    first = draws.normal(42, "noise", 1, [0], (2,)).flatten().tolist()
    assert draws.VERSION == 2
    assert first == pytest.approx([-0.42131600, 1.28814745], abs=1e-6)


def test_each_slot_is_drawn_alone() -> None:
    together = draws.normal(3, "noise", 5, [0, 1, 2], (4, 6, 6))
    assert all(torch.equal(row, draws.normal(3, "noise", 5, [slot], (4, 6, 6))[0])
               for slot, row in enumerate(together))  # fmt: skip


def test_steps_whose_short_keys_agree_have_noise_of_their_own() -> None:
    # The lower halves of these two keys are equal: a generator of 32 bits gives both the same noise.
    pair = (64252, 71622)
    assert len({(key(42, "noise", step, 0) >> 1) & (2**32 - 1) for step in pair}) == 1
    one, other = (draws.normal(42, "noise", step, [0], (4, 64, 64)) for step in pair)
    assert not torch.equal(one, other)
    assert abs(float((one * other).mean())) < 0.04  # 5 standard deviations of 16,384 products


def test_no_two_of_seed_purpose_step_and_slot_meet() -> None:
    asked = list(itertools.product(
        (0, 1, 42, 42 + 2**32, 2**63 - 1), ("latent", "noise", "offset", "preview"), (0, 1, 2, 2**32, 2**40),
        (0, 1, 2, 63),
    ))  # fmt: skip
    found = {draws.normal(seed, purpose, step, [slot], (8,)).numpy().tobytes()
             for seed, purpose, step, slot in asked}  # fmt: skip
    assert len(found) == len(asked)


def test_noise_is_standard_normal() -> None:
    values = draws.normal(1, "noise", 1, range(16), (4, 128, 128)).double().flatten().numpy()
    count = len(values)
    assert abs(values.mean()) < 5 / count**0.5
    assert abs(values.std() - 1) < 5 / (2 * count) ** 0.5
    assert abs((values**4).mean() - 3) < 5 * (96 / count) ** 0.5
    expected = torch.special.ndtr(torch.from_numpy(np.sort(values))).numpy()
    distance = np.abs(expected - (np.arange(count) + 0.5) / count).max()
    assert distance * count**0.5 < 1.95  # Kolmogorov and Smirnov: 0.1 % of samples lie beyond


def test_a_generator_has_the_whole_key() -> None:
    rows = [torch.randn(64, generator=draws.generator(42, "init", f"layer {n}")) for n in range(200)]
    assert len({row.numpy().tobytes() for row in rows}) == 200
    again = torch.randn(64, generator=draws.generator(42, "init", "layer 0"))
    assert torch.equal(rows[0], again)
    # Its first words are the twister's own step from the state that Philox filled.
    state = np.random.RandomState()
    wide = wide_key(42, "init", "layer 0")
    raw = np.random.Philox(key=wide).random_raw(312).astype("<u8").view("<u4")
    state.set_state(("MT19937", raw, 624, 0, 0.0))
    drawn = torch.empty(4, dtype=torch.int64).random_(
        0, 2**20, generator=draws.generator(42, "init", "layer 0")
    )
    assert drawn.tolist() == (state.randint(0, 2**32, 4, dtype=np.uint32) % 2**20).tolist()


def test_keyed_puts_the_global_generator_back() -> None:
    torch.manual_seed(5)
    expected = torch.randn(3)
    torch.manual_seed(5)
    with draws.keyed(1, "init", "unet"):
        inside = torch.randn(3)
    assert torch.equal(torch.randn(3), expected)
    assert torch.equal(inside, torch.randn(3, generator=draws.generator(1, "init", "unet")))
