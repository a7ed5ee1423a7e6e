"""The order of the steps. Importing this brings the plan's schema, which takes a moment."""

from __future__ import annotations

from sdtrain_tui.wizard.base import BaseStep
from sdtrain_tui.wizard.data import DataStep
from sdtrain_tui.wizard.hardware import HardwareStep
from sdtrain_tui.wizard.method import MethodStep
from sdtrain_tui.wizard.previews import PreviewsStep
from sdtrain_tui.wizard.recipe import RecipeStep
from sdtrain_tui.wizard.review import ReviewStep
from sdtrain_tui.wizard.step import Step

STEPS: tuple[type[Step], ...] = (
    MethodStep,
    BaseStep,
    DataStep,
    RecipeStep,
    PreviewsStep,
    HardwareStep,
    ReviewStep,
)


def step_of(key: str, method: str) -> int:
    """The place of the step where a problem with this key is mended; the recipe takes what nobody owns."""
    owners = [index for index, step in enumerate(STEPS) if step.owns(key, method)]
    return owners[0] if owners else STEPS.index(RecipeStep)
