"""The plan's table [validation]: the loss of pictures that are never trained on."""

from __future__ import annotations

from engine.plan.fields import Section, option


class Validation(Section):
    """Loss of pictures that are never trained on, with the same noise every time."""

    every: int = option(0, "steps between validations; 0 is off", unit="steps", ge=0)
    every_epochs: float = option(
        0.0,
        "epochs between validations: validation.every follows from it; 0 leaves it to that",
        ge=0,
        le=1_000_000,
        advanced=True,
    )
    share: float = option(
        0.1, "share of the pictures that is held out of the training for it", ge=0, le=0.5, advanced=True
    )
    path: str = option(
        "",
        "a folder of pictures to validate on instead of a share; none of them is trained on",
        advanced=True,
    )
    pictures: int = option(64, "the most pictures to validate on", ge=1, le=100_000, advanced=True)
    bands: int = option(
        4,
        "bands of timesteps, each as wide as the others, that get a loss of their own",
        ge=1,
        le=50,
        advanced=True,
    )
    draws: int = option(
        1, "how often each picture is measured in each band, with other noise", ge=1, le=100, advanced=True
    )
    seed: int = option(
        1234,
        "which pictures are held out and with which noise they are measured",
        ge=0,
        lt=2**63,
        advanced=True,
    )
    keep_best: bool = option(
        True,
        "keep the checkpoint of the step with the lowest loss beside checkpoints.keep",
        advanced=True,
        on_resume="checkpoints are copies of what is learned",
    )
    stop_after: int = option(
        0,
        "validations without a new lowest loss after which the run ends early; 0 never does",
        ge=0,
        advanced=True,
        on_resume="it says when to end, and nothing of what is learned until then",
    )

    @property
    def on(self) -> bool:
        """Are pictures held out?"""
        return self.every > 0 or self.every_epochs > 0

    @property
    def idle(self) -> frozenset[str]:
        if not self.on:
            return frozenset(type(self).model_fields) - {"every", "every_epochs", "path"}
        return frozenset({"share"}) if self.path else frozenset()
