"""Sides that are prime, so that a tensor's size says by itself what it grows with."""

from __future__ import annotations

from functools import lru_cache

from engine.cost.quantity import Powers

# Primes that divide no width, count of heads or of tokens that models have.
BATCH, ROWS, COLUMNS, RANK = 251, 257, 263, 509
# A denoiser halves its latents at most three times.
LEVELS = 8
HEIGHT, WIDTH = LEVELS * ROWS, LEVELS * COLUMNS
AREA = HEIGHT * WIDTH


@lru_cache(maxsize=1 << 14)
def term(number: int, padded: bool = False) -> tuple[Powers, float]:
    """The powers of batch, area and rank in a product of sides, and its coefficient.
    `padded` sides may be there too.
    """
    batch, rest = _power(number, BATCH)
    rows, rest = _power(rest, ROWS)
    columns, rest = _power(rest, COLUMNS)
    rank, rest = _power(rest, RANK)
    area = min(rows, columns)
    rest *= ROWS ** (rows - area) * COLUMNS ** (columns - area)
    if padded and batch and not area and rest > AREA:
        # A VAE pads its maps by a row and a column before it halves them. No other tensor of a picture is as large.
        return (batch, 1, rank), rest / AREA
    # The sides' factor of 8 each is left in `rest`.
    return (batch, area, rank), rest / LEVELS ** (2 * area)


def _power(number: int, prime: int) -> tuple[int, int]:
    power = 0
    while number and number % prime == 0:
        number //= prime
        power += 1
    return power, number
