"""From scratch: a fresh UNet beside a given VAE and text encoder."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Literal

from pydantic import field_validator

from engine.models.family_spec import FamilySpec
from engine.models.widths import problem_of, widths_of, with_widths
from engine.plan.fields import option
from engine.plan.methods.base import Lesson, MethodOptions, MethodSpec, Stage
from engine.plan.methods.context import Derived, GrowingPlan, PlanContext
from engine.plan.problems import Problem, warning
from engine.plan.units import duration

STAGE = re.compile(r"([1-9]\d{1,3}):([1-9]\d{0,8})")
# The resolutions before the last one.
STAGE_SIDES = (256, 512)
# Public from-scratch runs showed over 1e9 samples of millions of pictures, each a few times to a few dozen
# times; a smaller set that is shown more often than this is repeated rather than understood.
MEMORISED_AFTER = 100
ENOUGH = 50_000


class ScratchOptions(MethodOptions):
    """Options of method scratch."""

    sizeless_fields: ClassVar[frozenset[str]] = frozenset(
        {"prediction", "zero_terminal_snr", "stages", "stage_rate"}
    )

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

    @property
    def thrift(self) -> Mapping[str, object]:
        return {} if self.size in ("narrow", "own") else {"size": "narrow"}

    def problems(self, ctx: PlanContext) -> Iterator[Problem]:
        yield from self._shape_problems(ctx)
        yield from self._stage_problems(ctx)
        yield from self._amount_problems(ctx)

    def _shape_problems(self, ctx: PlanContext) -> Iterator[Problem]:
        if self.widths and self.size != "own":
            fix = 'set scratch.size = "own", or leave the widths out'
            yield warning("scratch.widths", "has no effect", f"scratch.size is {self.size!r}", fix)
        config = ctx.denoiser_config
        if self.size == "own" and config and (why := problem_of(config, self.widths)):
            usual = widths_of(config, "narrow")
            yield Problem("scratch.widths", "does not fit this family", why, f"for example {usual}")
        if self.zero_terminal_snr and self.prediction != "v_prediction":
            what = f"cannot be with prediction {self.prediction!r}"
            why = "where no signal is left, the noise is known already and nothing can be learnt from predicting it"
            fix = 'set scratch.prediction = "v_prediction"'
            yield Problem("scratch.zero_terminal_snr", what, why, fix)

    def _stage_problems(self, ctx: PlanContext) -> Iterator[Problem]:
        stages, steps, side = self.stages_of_resolution, ctx.plan.train.steps, ctx.plan.data.resolution
        if not stages:
            return
        last = stages[-1]
        if last.last != steps:
            why = f"the stages add up to {last.last:,} steps, and train.steps is {steps:,}"
            yield Problem("scratch.stages", "do not fit train.steps", why, f"set train.steps = {last.last}")
        if last.side != side:
            why = f"the last stage has {last.side} px, and data.resolution is {side}"
            fix = f"set data.resolution = {last.side}, at which previews are drawn"
            yield Problem("scratch.stages", "do not end at data.resolution", why, fix)
        for stage in stages:
            if stage.side % (8 if ctx.tiny else 64):
                what, why = f"{stage.side} is no multiple of 64", "the VAE and the UNet halve the sides"
                yield Problem("scratch.stages", what, why, "set 256, 512 or 1024")

    def _amount_problems(self, ctx: PlanContext) -> Iterator[Problem]:
        if not 0 < ctx.pictures < ENOUGH:
            return
        times = ctx.images_seen / ctx.pictures
        if times < MEMORISED_AFTER:
            return
        days = f", {duration(ctx.seconds)} at the rate of earlier runs" if ctx.seconds else ""
        what = (
            f"{ctx.images_seen:,} samples of {ctx.pictures:,} pictures, {times:,.0f} epochs{days}: memorised"
        )
        why = "a set this size teaches these pictures, or a narrow world, and not pictures at large"
        fix = f"bring {ENOUGH:,} pictures or more, train fewer steps, or fine-tune a base model"
        yield warning("data.path", what, why, fix)

    @classmethod
    def derive(cls, plan: GrowingPlan) -> Iterator[Derived]:
        given = plan.plan() if "scratch.stages" in plan.given else None
        if given is not None and (stages := given.options.stages_of_resolution):
            yield Derived("train.steps", stages[-1].last, "what scratch.stages adds up to")
            why = "the last of scratch.stages, for previews"
            yield Derived("data.resolution", stages[-1].side, why)
            return
        steps, side = plan.whole("train.steps"), plan.whole("data.resolution")
        sides = [small for small in STAGE_SIDES if small < side] if not plan.tiny else []
        if not sides:
            return
        shares = {1: [0.75], 2: [0.7, 0.2]}[len(sides)]
        counts = [round(steps * share) for share in shares]
        before = [f"{small}:{count}" for small, count in zip(sides, counts, strict=True)]
        why = "small pictures first: a step at 256 px costs a quarter of one at 512 px (mosaicml diffusion)"
        yield Derived("scratch.stages", [*before, f"{side}:{steps - sum(counts)}"], why)

    def whole_parts(self, family: FamilySpec) -> tuple[str, ...]:
        return (family.denoiser,)

    def denoiser_config(self, config: Mapping[str, Any]) -> Mapping[str, Any]:
        if not config or (self.size == "own" and problem_of(config, self.widths)):
            return config  # the check says what is wrong with them
        return with_widths(config, widths_of(config, self.size, self.widths))

    def length_notes(self, samples: int, pictures: int, seconds: float | None) -> Iterator[str]:
        # It is long enough that the figures decide whether to start.
        days = f"{seconds / 86_400:,.1f} days" if seconds else "days not known before a rate is measured"
        yield f"{samples:,} samples of {pictures:,} pictures: {samples / pictures:,.0f} epochs, {days}"


SPEC = MethodSpec(
    name="scratch",
    title="From scratch",
    goal="train a UNet from random weights",
    input="50k to 500k captioned pictures, as folders or WebDataset tar shards",
    output="a new base model: one .safetensors file and a diffusers folder",
    use="research, commercial bases; very heavy",
    options=ScratchOptions,
    behaviour="engine.methods.scratch:Scratch",
    requires=frozenset({"fresh_denoiser"}),
    formats=("diffusers_folder", "single_file"),
    default_formats=2,
    typical_pictures=(50_000, 500_000),
    asks=("data.flip",),
    class_obstacle="there is no prior yet",
    notes=("small sets are only memorised: the wizard says how often each picture is seen",),
    lesson=Lesson(
        "small world",
        160,
        "the first of a world, its colours and shapes, to a UNet with fresh weights",
        answers={"samples.prompts": ["a red circle", "a green square", "a blue heart", "a yellow star"]},
    ),
)
