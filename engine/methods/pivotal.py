"""Pivotal tuning: the new word beside a LoRA, whose vectors train at a rate of their own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Self

from engine.families.base import ModelFamily
from engine.methods.artifact import Artifact
from engine.methods.base import Trainable
from engine.methods.textual_inversion import TextualInversion
from engine.plan.methods.lora import LoraOptions
from engine.plan.methods.textual_inversion import TextualInversionOptions
from engine.plan.optimizers import OPTIMIZERS
from engine.plan.schema import Plan

FASTER = 5.0
"""Times the LoRA's rate: 5e-4 beside 1e-4, the rates of diffusers' textual_inversion and of its LoRAs."""


class Word:
    """Textual inversion of the plan's trigger. It is named so in cloneofsimo's LoRA scripts, after Roich et al. 2021
    (arXiv:2106.05744), where a point of the latent space is found first; here word and LoRA learn at once."""

    def __init__(self, learner: TextualInversion, learning_rate: float) -> None:
        self.learner = learner
        self.learning_rate = learning_rate

    @classmethod
    def of(cls, plan: Plan, options: LoraOptions) -> Self | None:
        """The plan's word; none where it teaches none."""
        if not options.word_vectors:
            return None
        initial = [options.word_initial] if options.word_initial else []
        own = TextualInversionOptions(
            tokens=[plan.data.trigger], vectors=options.word_vectors, initial=initial
        )
        learner = TextualInversion(own, plan.data.trigger, plan.seed)
        learner.initial_key = f"{plan.method}.word_initial"
        # Optimisers that find the rate themselves take the plan's as a factor, which is the same for all.
        factor = FASTER if OPTIMIZERS[plan.optimizer.name].learning_rate is None else 1.0
        return cls(learner, options.word_rate or factor * plan.train.learning_rate)

    def prepare(self, family: ModelFamily) -> Sequence[Trainable]:
        """The vectors, in every text encoder."""
        return [replace(item, learning_rate=self.learning_rate) for item in self.learner.prepare(family)]

    def after_step(self, family: ModelFamily) -> None:
        """Each vector keeps the vocabulary's median norm."""
        self.learner.after_step(family)

    def signals(self, family: ModelFamily) -> Mapping[str, float]:
        """How long the vectors are, and how far from where they began."""
        return self.learner.signals(family)

    def artifact(self, family: ModelFamily) -> Artifact:
        """The word as an embedding."""
        return self.learner.artifact(family)
