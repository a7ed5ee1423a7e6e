"""What is known of each optimiser without torch; a new one is its file and one line here."""

from typing import TYPE_CHECKING, Literal

from engine.plan.optimizers import (
    adafactor,
    adafactor_relative,
    adamw,
    adamw8bit,
    adamw_bf16,
    came,
    lion,
    lion8bit,
    muon,
    paged_adamw8bit,
    prodigy,
    schedule_free,
    soap,
    stable_adamw,
)
from engine.plan.optimizers.base import OptimizerSpec

_FILES = (
    adamw,
    adamw_bf16,
    adamw8bit,
    paged_adamw8bit,
    lion,
    lion8bit,
    adafactor,
    adafactor_relative,
    came,
    stable_adamw,
    schedule_free,
    prodigy,
    muon,
    soap,
)
OPTIMIZERS: dict[str, OptimizerSpec] = {file.SPEC.name: file.SPEC for file in _FILES}
OPTIMIZER_TEXT = ", ".join(f"{spec.name} ({spec.help})" for spec in OPTIMIZERS.values())

if TYPE_CHECKING:
    OptimizerName = str
else:
    OptimizerName = Literal[tuple(OPTIMIZERS)]

__all__ = ["OPTIMIZERS", "OPTIMIZER_TEXT", "OptimizerName", "OptimizerSpec"]
