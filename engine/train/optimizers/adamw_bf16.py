"""torch's fused AdamW, whose moments lie in bf16 between two updates."""

from __future__ import annotations

from engine.train.optimizers.adamw import build, skip

narrow = frozenset({"exp_avg", "exp_avg_sq"})

__all__ = ["build", "narrow", "skip"]
