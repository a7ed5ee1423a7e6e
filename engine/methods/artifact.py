"""What a training method hands to the exporters: tensors under canonical names, and the facts they need."""

from dataclasses import dataclass, field

import torch


@dataclass(frozen=True)
class Artifact:
    """The result of a method, in no file format yet.

    `kind` is what the tensors are ("lora", "checkpoint", ...). `tensors` are on the CPU. For a LoRA the keys
    are `PART.MODULE.lora_A.weight`, `PART.MODULE.lora_B.weight` and, for DoRA,
    `PART.MODULE.lora_magnitude_vector`, where PART is the pipeline's part (the denoiser, text_encoder,
    text_encoder_2) and MODULE its diffusers path; text encoders are always written with their `text_model.`
    level. LoRA facts: rank (int), alpha (float), rslora (bool), dora (bool), and ranks/alphas: overrides
    {"PART.MODULE": value}.
    """

    kind: str
    tensors: dict[str, torch.Tensor]
    facts: dict[str, object] = field(default_factory=dict)
    beside: tuple["Artifact", ...] = ()
    """What was learned with it and goes into files of its own: the word of a pivotal tuning."""

    def of(self, kind: str) -> "Artifact":
        """The part of the result that files of a kind hold; itself where nothing is of that kind."""
        return next((each for each in (self, *self.beside) if each.kind == kind), self)
