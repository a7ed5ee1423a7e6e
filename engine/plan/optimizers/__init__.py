"""What is known of each optimiser without torch; a new one is its file and one line here."""

from typing import TYPE_CHECKING, Literal

from engine.plan.optimizers import adafactor, adamw, prodigy
from engine.plan.optimizers.base import OptimizerSpec

_FILES = (adamw, adafactor, prodigy)
OPTIMIZERS: dict[str, OptimizerSpec] = {file.SPEC.name: file.SPEC for file in _FILES}
OPTIMIZER_TEXT = ", ".join(f"{spec.name} ({spec.help})" for spec in OPTIMIZERS.values())

if TYPE_CHECKING:
    OptimizerName = str
else:
    OptimizerName = Literal[tuple(OPTIMIZERS)]

__all__ = ["OPTIMIZERS", "OPTIMIZER_TEXT", "OptimizerName", "OptimizerSpec"]
