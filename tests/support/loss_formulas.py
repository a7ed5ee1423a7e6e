"""What each option of the objective multiplies the loss by, written again from its source, for the noise's error."""

from __future__ import annotations

import math
from collections.abc import Callable

WEIGHTS: dict[str, tuple[dict[str, object], Callable[[float, int], float]]] = {
    # Hang et al. 2023 (arXiv:2303.09556).
    "min-SNR": ({"min_snr_gamma": 5.0}, lambda snr, time: min(snr, 5.0) / snr),
    # Crowson et al. 2024 (arXiv:2401.11605): 1 / (sigma^2 + 1/gamma) of the picture's error, the noise's / SNR.
    "soft_min_snr": (
        {"min_snr_gamma": 4.0, "soft_min_snr": True},
        lambda snr, time: 1 / (1 / snr + 1 / 4.0) / snr,
    ),
    # kohya's apply_debiased_estimation.
    "debiased": ({"weighting": "debiased"}, lambda snr, time: 1 / math.sqrt(min(snr, 1000.0))),
    # Choi et al. 2022 (arXiv:2204.00227), equation 8 with k = 1.
    "p2": ({"weighting": "p2"}, lambda snr, time: 1 / (1 + snr)),
    "p2_gamma": ({"weighting": "p2", "p2_gamma": 0.5}, lambda snr, time: 1 / (1 + snr) ** 0.5),
    "band_weights": (
        {"band_weights": "0-499:0.25, 900-999:0"},
        lambda snr, time: 0.25 if time < 500 else (0.0 if time >= 900 else 1.0),
    ),
    "bands and min-SNR": (
        {"band_weights": "0-999:3", "min_snr_gamma": 5.0},
        lambda snr, time: 3 * min(snr, 5.0) / snr,
    ),
}
"""Options, and the weight by SNR and timestep."""
