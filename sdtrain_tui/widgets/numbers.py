"""Numbers as people read them, in few characters."""

from __future__ import annotations

import math


def count(value: float) -> str:
    """A whole number with thousands separated: 12,400."""
    return f"{int(value):,}"


def short(value: float) -> str:
    """A measured value in at most 7 characters: 0.0821, 12.4, 1.3e-05."""
    if not math.isfinite(value):
        return "nan" if math.isnan(value) else "inf" if value > 0 else "-inf"
    size = abs(value)
    if size == 0:
        return "0"
    if size >= 1e5 or size < 1e-3:
        return f"{value:.1e}"
    if size >= 1000:
        return f"{value:.0f}"
    return f"{value:.{3 if size >= 0.1 else 4}f}" if size < 10 else f"{value:.1f}"


def learning_rate(value: float) -> str:
    """A learning rate: 1e-4, 9.76e-5."""
    if not math.isfinite(value):
        return short(value)
    if value == 0:
        return "0"
    mantissa, exponent = f"{value:.2e}".split("e")
    return f"{mantissa.rstrip('0').rstrip('.')}e{int(exponent)}"


def span(seconds: float | None) -> str:
    """A duration: 0:42, 12:04, 1h 12m, 2d 03h; a dash where it is not known."""
    if seconds is None or not math.isfinite(seconds):
        return "-"
    whole = max(0, int(seconds))
    if whole < 3600:
        return f"{whole // 60}:{whole % 60:02d}"
    if whole < 86400:
        return f"{whole // 3600}h {whole % 3600 // 60:02d}m"
    return f"{whole // 86400}d {whole % 86400 // 3600:02d}h"


def gib(size: float) -> str:
    """Bytes as GiB with one decimal, whole from 100 on: 41.2, 503."""
    value = size / 2**30
    return f"{value:.0f}" if value >= 99.95 else f"{value:.1f}"


def size_text(size: float) -> str:
    """Bytes with their unit: 812 B, 2.1 MB, 3.4 GB."""
    value, unit = float(size), "B"
    for larger in ("kB", "MB", "GB", "TB"):
        if value < 1000:
            break
        value, unit = value / 1000, larger
    return f"{value:.0f} {unit}" if unit == "B" or value >= 100 else f"{value:.1f} {unit}"
