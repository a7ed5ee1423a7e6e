"""What GPUs can do at best: dense matrix operations in 16 bit with fp32 accumulation, and bytes moved, a second."""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Peak:
    """Operations and bytes a second, and the vendor's document; where that gives only the sparse figure, half of it."""

    flops: float
    bandwidth: float
    source: str


# The first pattern that matches the device's name counts.
_PEAKS: tuple[tuple[str, Peak], ...] = (
    (r"H100 PCIe", Peak(756e12, 2.0e12, "NVIDIA H100 data sheet")),
    (r"H100 NVL", Peak(835e12, 3.9e12, "NVIDIA H100 data sheet")),
    (r"H100", Peak(989e12, 3.35e12, "NVIDIA H100 data sheet, SXM")),
    (r"H200 NVL", Peak(835e12, 4.8e12, "NVIDIA H200 data sheet")),
    (r"H200|GH200", Peak(989e12, 4.8e12, "NVIDIA H200 data sheet, SXM")),
    (r"B200", Peak(2250e12, 8.0e12, "NVIDIA DGX B200 data sheet")),
    (r"(A100|A800).*40 ?GB", Peak(312e12, 1.555e12, "NVIDIA A100 data sheet, 40 GB")),
    (r"A100|A800", Peak(312e12, 1.935e12, "NVIDIA A100 data sheet, 80 GB PCIe")),
    (r"\bA30\b", Peak(165e12, 0.933e12, "NVIDIA A30 data sheet")),
    (r"\bA40\b", Peak(149.7e12, 0.696e12, "NVIDIA A40 data sheet")),
    (r"\bA10\b", Peak(125e12, 0.6e12, "NVIDIA A10 data sheet")),
    (r"\bA6000\b", Peak(154.8e12, 0.768e12, "NVIDIA RTX A6000 data sheet")),
    (r"L40S", Peak(362e12, 0.864e12, "NVIDIA L40S data sheet")),
    (r"\bL40\b", Peak(181e12, 0.864e12, "NVIDIA L40 data sheet")),
    (r"\bL4\b", Peak(121e12, 0.3e12, "NVIDIA L4 data sheet")),
    (r"RTX 6000 Ada", Peak(364e12, 0.96e12, "NVIDIA RTX 6000 Ada data sheet")),
    (r"RTX 4090(?! Laptop| D)", Peak(165.2e12, 1.008e12, "NVIDIA Ada architecture white paper")),
    (r"RTX 3090 Ti", Peak(80e12, 1.008e12, "NVIDIA GA102 architecture white paper")),
    (r"RTX 3090", Peak(71e12, 0.936e12, "NVIDIA GA102 architecture white paper")),
)


def peak_of(device_name: str) -> Peak | None:
    """The GPU's peak, or None where it is not known: then there is no MFU, and no time that it takes at least."""
    for pattern, peak in _PEAKS:
        if re.search(pattern, device_name):
            return peak
    return None
