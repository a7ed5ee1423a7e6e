"""What the loop asks of a method; a method never names a family."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, Self, TypeVar

from torch import Tensor, nn

from engine.families.base import Conditioning, ModelFamily, Residuals
from engine.methods.artifact import Artifact
from engine.plan.methods import MethodOptions
from engine.plan.schema import Plan

Options = TypeVar("Options", bound=MethodOptions)


@dataclass(frozen=True)
class Trainable:
    """One parameter that trains. `name` is unique and stable across restarts; `module` is what a person
    reads (the denoiser, text_encoder); its rate is `learning_rate`, or the plan's where that is none."""

    name: str
    parameter: nn.Parameter
    module: str
    learning_rate: float | None = None
    weight_decay: bool = True


class Method(Protocol):
    """Behaviour of one method on one loaded model. The hooks with a body are those that most leave as they are."""

    @classmethod
    def from_plan(cls, plan: Plan) -> Self:
        """The method with the options of a plan that names it."""
        ...

    def prepare(self, family: ModelFamily) -> Sequence[Trainable]:
        """Inject modules, say what trains. Called once, before dtypes and devices are decided."""
        ...

    def modules(self) -> Mapping[str, nn.Module]:
        """Modules of the method's own that are not among the family's parts; the setup places them."""
        return {}

    def residuals(
        self,
        family: ModelFamily,
        noisy: Tensor,
        timesteps: Tensor,
        cond: Conditioning,
        batch: Mapping[str, Any],
    ) -> Residuals:
        """Extra inputs of the denoiser; mostly none."""
        return {}

    contrast: ClassVar[str] = ""
    """What the loss without `residuals` is called in a validation; empty for a method that adds none."""

    def signals(self, family: ModelFamily) -> Mapping[str, float]:
        """What is worth knowing of the weights as they are, by its name: norms, distances. Asked at validations."""
        return {}

    def after_step(self, family: ModelFamily) -> None:
        """Called after each update, for what must not drift; again where memory ended it."""
        return

    def artifact(self, family: ModelFamily) -> Artifact:
        """What was learned, in canonical keys, fp32 on the CPU."""
        ...


def options_of(plan: Plan, kind: type[Options]) -> Options:
    """The options of the plan's own method, as the kind that its declaration names."""
    assert isinstance(plan.options, kind)
    return plan.options
