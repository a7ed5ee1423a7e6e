"""Keys and permutations: fixed values, no collisions by concatenation, every order possible."""

import hashlib
import subprocess
import sys

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from engine import keys

PARTS = st.lists(st.one_of(st.integers(), st.text(max_size=6)), max_size=4)


def test_a_key_is_the_same_for_ever() -> None:
    # Changing any of these breaks the resuming of every run that exists.
    digest = hashlib.blake2b(b"i2:42s5:orderi1:0i3:512", digest_size=8).digest()
    assert keys.key(42, "order", 0, 512) == int.from_bytes(digest, "little") == 7037821442673647109
    wide = hashlib.blake2b(b"i2:42s5:noise", digest_size=16).digest()
    assert keys.wide_key(42, "noise") == int.from_bytes(wide, "little")
    assert keys.uniform(42, "caption-dropout", 3) == 0.5267972966448418
    assert keys.permutation(8, 42, "order", 0).tolist() == [0, 5, 4, 1, 2, 6, 7, 3]


def test_a_key_does_not_depend_on_the_process() -> None:
    code = "from engine import keys; print(keys.key(1, 'a', 2), keys.permutation(50, 1, 'x').tolist())"
    outputs = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={"PYTHONHASHSEED": seed, "OMP_NUM_THREADS": "1", "PYTHONPATH": ":".join(sys.path)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(outputs) == 1


@given(PARTS, PARTS)
def test_different_parts_are_encoded_differently(one: list[int | str], other: list[int | str]) -> None:
    assert (keys.encode(one) == keys.encode(other)) == (
        [(type(part), part) for part in one] == [(type(part), part) for part in other]
    )


def test_parts_that_read_the_same_when_joined_give_different_keys() -> None:
    assert (
        len({keys.key(1, "ab", "c"), keys.key(1, "a", "bc"), keys.key(1, "abc"), keys.key(1, "ab", "c", "")})
        == 4
    )
    assert keys.key(1, 23) != keys.key(12, 3)
    assert keys.key(1, "2") != keys.key(1, 2)


@given(st.integers(0, 400), st.integers())
def test_a_permutation_holds_every_number_once(n: int, seed: int) -> None:
    assert sorted(keys.permutation(n, seed, "p").tolist()) == list(range(n))


def test_all_orders_of_four_are_about_equally_frequent() -> None:
    seen: dict[tuple[int, ...], int] = {}
    for epoch in range(4800):
        order = tuple(keys.permutation(4, 7, "order", epoch).tolist())
        seen[order] = seen.get(order, 0) + 1
    assert len(seen) == 24
    chi_squared = sum((count - 200) ** 2 / 200 for count in seen.values())
    assert chi_squared < 49.7  # 23 degrees of freedom, p = 0.001


def test_uniform_numbers_fill_the_unit_interval_evenly() -> None:
    values = np.array([keys.uniform(5, "u", index) for index in range(4000)])
    assert values.min() >= 0 and values.max() < 1
    counts = np.histogram(values, bins=20, range=(0, 1))[0]
    assert ((counts - 200) ** 2 / 200).sum() < 43.8  # 19 degrees of freedom, p = 0.001
