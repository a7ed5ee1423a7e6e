"""From scratch: a fresh UNet beside a given VAE and text encoder."""

from __future__ import annotations

import re
from typing import Literal

from pydantic import field_validator

from engine.plan.fields import option
from engine.plan.methods.base import MethodOptions, MethodSpec, Stage

STAGE = re.compile(r"([1-9]\d{1,3}):([1-9]\d{0,8})")


class ScratchOptions(MethodOptions):
    """Options of method scratch."""

    size: Literal["base", "small", "narrow", "own"] = option(
        "small", "UNet widths: the base model's own, 3/4, 2/5 of them, or those of `widths`"
    )
    widths: list[int] = option([], "block_out_channels for size own, one a level", advanced=True)
    prediction: Literal["base", "epsilon", "v_prediction"] = option(
        "base", "what the UNet learns to predict; base is what the base model predicts"
    )
    zero_terminal_snr: bool = option(
        False,
        "the last timestep is pure noise, for true blacks and whites; needs v_prediction",
        advanced=True,
    )
    stages: list[str] = option(
        [], 'resolution stages as "SIDE:STEPS", for example ["256:70000", "512:30000"]; none is one stage'
    )
    stage_rate: float = option(0.5, "factor of the rate at each further stage", gt=0, le=1, advanced=True)

    @field_validator("stages")
    @classmethod
    def _readable(cls, value: list[str]) -> list[str]:
        for text in value:
            if not STAGE.fullmatch(text):
                raise ValueError(f'{text!r} is no stage; write SIDE:STEPS, for example "256:70000"')
        return value

    @property
    def stages_of_resolution(self) -> tuple[Stage, ...]:
        last, found = 0, []
        for number, text in enumerate(self.stages):
            side, _, steps = text.partition(":")
            last += int(steps)
            found.append(Stage(int(side), last, self.stage_rate**number))
        return tuple(found)


SPEC = MethodSpec(
    name="scratch",
    title="From scratch",
    goal="train a UNet from random weights",
    input="50k to 500k captioned pictures, as folders or WebDataset tar shards",
    output="a new base model: one .safetensors file and a diffusers folder",
    use="research, commercial bases; very heavy",
    options=ScratchOptions,
    formats=("diffusers_folder", "single_file"),
    default_formats=2,
    typical_pictures=(50_000, 500_000),
    asks=("data.flip",),
    class_pictures=False,
    notes=("small sets are only memorised: the wizard says how often each picture is seen",),
)
