"""The tables of a plan about what a run writes: previews, checkpoints, and the files that come out."""

from __future__ import annotations

from typing import ClassVar, Literal

from engine.plan.fields import Section, option


class Samples(Section):
    """Previews while training, always from the same seeds."""

    ON_RESUME: ClassVar[str] = "previews learn nothing"

    every: int = option(100, "steps between previews; 0 is off", unit="steps", ge=0)
    every_epochs: float = option(
        0.0, "epochs between previews: samples.every follows from it; 0 leaves it to that", ge=0, le=1_000_000
    )
    prompts: list[str] = option([], "what to draw; empty takes captions of the data set")
    negative: str = option("", "what not to draw", advanced=True)
    count: int = option(4, "how many captions to take when no prompt is given", ge=1, le=64, advanced=True)
    at_start: bool = option(True, "also before the first step, to have something to compare with")
    seed: int = option(1234, "seed of the first preview; the next ones count up", ge=0, advanced=True)
    steps: int = option(25, "denoising steps of a preview", ge=1, le=1000, advanced=True)
    guidance: float = option(7.0, "classifier-free guidance scale; 1 is off", ge=1, le=50)
    guidance_rescale: float = option(
        0.0,
        "share of guidance brought back to the prompt's own strength; with zero terminal SNR 0.7 is usual",
        ge=0,
        le=1,
        advanced=True,
    )
    clip: str = option(
        "",
        "folder of a CLIP model; each preview is then compared with its prompt and with the pictures",
        advanced=True,
    )
    width: int = option(0, "width; 0 takes data.resolution", unit="px", ge=0, le=4096, advanced=True)
    height: int = option(0, "height; 0 takes data.resolution", unit="px", ge=0, le=4096, advanced=True)

    @property
    def idle(self) -> frozenset[str]:
        return frozenset() if self.guidance > 1 else frozenset({"guidance_rescale"})


class Checkpoints(Section):
    """Whole states that a run can go on from."""

    ON_RESUME: ClassVar[str] = "checkpoints are copies of what is learned"

    every: int = option(250, "steps between checkpoints; 0 keeps only the last", unit="steps", ge=0)
    every_epochs: float = option(
        0.0,
        "epochs between checkpoints: checkpoints.every follows from it; 0 leaves it to that",
        ge=0,
        le=1_000_000,
        advanced=True,
    )
    keep: int = option(3, "how many to keep; 0 keeps all", ge=0)
    export_each: bool = option(False, "write the output formats at each checkpoint too", advanced=True)


class Output(Section):
    """The files that come out."""

    ON_RESUME: ClassVar[str] = "files are made from what was learned"

    formats: list[str] = option([], "export formats; empty takes the method's defaults")
    dtype: Literal["fp16", "bf16", "fp32"] = option("fp16", "number format of exported weights")
    weights: Literal["ema", "raw", "both"] = option(
        "ema", "where train.ema is on: the averages, the last step's own weights (files named -raw), or both"
    )
    metadata: Literal["full", "minimal"] = option(
        "full",
        "what files say of the pictures: full has trigger words, tags and the folder's name; minimal has nothing that "
        "comes from a caption",
    )
    file_name: str = option(
        "", "file stem; empty takes the plan's name, or the word where a method teaches one", advanced=True
    )
