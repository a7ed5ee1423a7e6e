"""The plan's table [objective]: what the model is asked to predict, and how its errors are weighed."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Literal

from engine.plan.fields import Section, option

READ_WITH: dict[str, str] = {
    "huber_delta": 'objective.loss = "huber"',
    "huber_schedule": 'objective.loss = "huber"',
    "soft_min_snr": "objective.min_snr_gamma = 5",
    "p2_gamma": 'objective.weighting = "p2"',
    "timestep_mean": 'objective.timesteps = "logit_normal"',
    "timestep_spread": 'objective.timesteps = "logit_normal"',
    "pyramid_discount": "objective.pyramid_noise = 6",
}
"""Fields that are read only as another one stands, and a value of that one for which they are."""


class Objective(Section):
    """What the model is asked to predict and how errors are weighed."""

    loss: Literal["mse", "huber", "l1"] = option(
        "mse",
        "distance between prediction and target; huber is the squared error up to huber_delta and a line beyond, "
        "l1 the plain distance",
        advanced=True,
    )
    huber_delta: float = option(
        0.1,
        "huber only: error e costs e^2 up to this delta, and 2 delta |e| - delta^2 beyond",
        gt=0,
        le=100,
        advanced=True,
    )
    huber_schedule: Literal["constant", "exponential", "snr"] = option(
        "constant",
        "huber only: delta at every timestep; or from 1 where there is no noise down to huber_delta, by the timestep "
        "(exponential) or by its share of signal (snr)",
        advanced=True,
    )
    min_snr_gamma: float = option(0.0, "min-SNR loss weight (5 is usual); 0 is off", ge=0, le=100)
    soft_min_snr: bool = option(
        False, "min-SNR without its kink: gamma / (SNR + gamma) of the noise's error", advanced=True
    )
    weighting: Literal["none", "debiased", "p2"] = option(
        "none",
        "another loss weight in place of min-SNR: 1 / sqrt(SNR) (debiased), or (1 + SNR)^-p2_gamma (p2)",
        advanced=True,
    )
    p2_gamma: float = option(
        1.0, "p2 only: how much less the clean timesteps count", gt=0, le=4, advanced=True
    )
    band_weights: str = option(
        "",
        'loss weights by timestep, "0-249:0.5, 750-999:2"; all others weigh 1',
        advanced=True,
    )
    timesteps: Literal["uniform", "cubic", "logit_normal", "sigmoid"] = option(
        "uniform",
        "how timesteps are drawn; cubic prefers noisy ones, where structure is decided, logit_normal those about "
        "timestep_mean, sigmoid those in the middle",
        advanced=True,
    )
    timestep_mean: float = option(
        0.0,
        "logit_normal only: 0 is the middle, 1 at 731 of 1000, -1 at 269",
        ge=-10,
        le=10,
        advanced=True,
    )
    timestep_spread: float = option(
        1.0,
        "logit_normal and sigmoid: standard deviation; smaller keeps closer to the mean",
        gt=0,
        le=10,
        advanced=True,
    )
    noise_offset: float = option(
        0.0, "adds a constant per channel to the noise, for darker darks", ge=0, le=1
    )
    adaptive_noise_offset: float = option(
        0.0,
        "times the mean of each channel of the picture, added to noise_offset",
        ge=-1,
        le=1,
        advanced=True,
    )
    pyramid_noise: int = option(
        0,
        "coarser and coarser levels of noise on top (6 is usual), for large shapes and darks; 0 is off",
        ge=0,
        le=16,
        advanced=True,
    )
    pyramid_discount: float = option(
        0.3, "strength of each level of pyramid_noise by the one before", gt=0, lt=1, advanced=True
    )
    input_perturbation: float = option(
        0.0,
        "more noise on what the model sees than it is to predict (0.1 is usual)",
        ge=0,
        le=1,
        advanced=True,
    )
    min_timestep: int = option(0, "lowest timestep that is trained", ge=0, lt=1000, advanced=True)
    max_timestep: int = option(999, "highest timestep that is trained", ge=0, lt=1000, advanced=True)

    @property
    def idle(self) -> frozenset[str]:
        read = {
            "huber_delta": self.loss == "huber",
            "huber_schedule": self.loss == "huber",
            "soft_min_snr": self.min_snr_gamma > 0,
            "p2_gamma": self.weighting == "p2",
            "timestep_mean": self.timesteps == "logit_normal",
            "timestep_spread": self.timesteps in ("logit_normal", "sigmoid"),
            "pyramid_discount": self.pyramid_noise > 0,
        }
        return frozenset(name for name, used in read.items() if not used)

    @property
    def of_snr(self) -> dict[str, str]:
        """Fields that ask for a signal-to-noise ratio, each with its value in a family that has none."""
        asked = {
            "min_snr_gamma": (self.min_snr_gamma > 0, "0"),
            "weighting": (self.weighting != "none", '"none"'),
            "huber_schedule": (self.loss == "huber" and self.huber_schedule == "snr", '"exponential"'),
        }
        return {name: other for name, (used, other) in asked.items() if used}

    @property
    def offsets_noise(self) -> bool:
        """Is a constant added to the noise of each channel?"""
        return self.noise_offset > 0 or self.adaptive_noise_offset > 0


@dataclass(frozen=True)
class Band:
    """Timesteps from `low` to `high`, both included, in thousandths of the way from clean to all noise."""

    low: int
    high: int
    weight: float


@lru_cache
def bands_of(text: str) -> tuple[Band, ...]:
    """The bands that objective.band_weights names, from the cleanest; ValueError where it cannot be read."""
    found = (
        sorted((_band(part) for part in text.split(",")), key=lambda band: band.low) if text.strip() else []
    )
    for one, after in pairwise(found):
        if after.low <= one.high:
            raise ValueError(f"{one.low}-{one.high} and {after.low}-{after.high} overlap")
    return tuple(found)


def _band(part: str) -> Band:
    span, _, weight = part.partition(":")
    low, _, high = span.partition("-")
    try:
        band = Band(int(low), int(high), float(weight))
    except ValueError:
        raise ValueError(f"{part.strip()!r} is not FROM-TO:WEIGHT") from None
    if not 0 <= band.low <= band.high < 1000:
        raise ValueError(f"{span.strip()} is no span of timesteps from 0 to 999")
    if not 0 <= band.weight <= 1000:
        raise ValueError(f"{weight.strip()} is no weight from 0 to 1000")
    return band
