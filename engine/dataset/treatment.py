"""How the pictures of one set are shown: what a plan may say for each of its sets apart."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Treatment:
    """What holds for all pictures of a set. `name` is its folder's, `repeats` how often each counts in an epoch,
    `weight` what its loss is multiplied by; the rest are the plan's fields of the same names."""

    name: str
    repeats: int = 1
    weight: float = 1.0
    flip: bool = False
    random_crop: bool = False
    caption_dropout: float = 0.0
    shuffle_tags: bool = False
    keep_tags: int = 0
    unmasked_weight: float = 0.0


def repeats_for(shares: list[float], pictures: list[int], most: int = 10_000) -> list[int]:
    """How often the pictures of each set count, so that the sets' draws stand to each other as the shares do.

    The smallest whole numbers, `most` at most, that are right to 2 % for every set; where there are none, the best.
    A set without pictures counts once.
    """
    wanted = [share / count if count else 0.0 for share, count in zip(shares, pictures, strict=True)]
    least = min((each for each in wanted if each > 0), default=0.0)
    if not least:
        return [1] * len(shares)
    ratios = [each / least for each in wanted]
    best: tuple[float, list[int]] | None = None
    for base in range(1, 51):
        found = [min(most, max(1, round(ratio * base))) for ratio in ratios]
        error = max(
            abs(number / base / ratio - 1) for number, ratio in zip(found, ratios, strict=True) if ratio
        )
        if best is None or error < best[0] - 1e-12:
            best = error, found
        if error <= 0.02:
            break
    assert best is not None
    return best[1]
