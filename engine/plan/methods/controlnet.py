"""ControlNet: a copy of the UNet's encoder that makes the model obey a condition picture."""

from __future__ import annotations

from typing import ClassVar, Literal

from engine.plan.fields import option
from engine.plan.methods.base import MethodOptions, MethodSpec

ConditionMaker = Literal["files", "canny", "depth", "openpose", "hed", "lineart"]


class ConditionOptions(MethodOptions):
    """Options of methods that see a condition picture beside every picture."""

    path_fields: ClassVar[tuple[str, ...]] = ("condition_path",)

    condition: ConditionMaker = option(
        "files", "condition pictures: given as files, or made from the pictures"
    )
    condition_path: str = option(
        "", "folder of condition pictures with the same names; none takes metadata's column"
    )
    channels: Literal["1", "3"] = option("3", "channels of the condition picture")

    @property
    def idle(self) -> frozenset[str]:
        return frozenset() if self.condition == "files" else frozenset({"condition_path"})


class ControlnetOptions(ConditionOptions):
    """Options of method controlnet."""

    path_fields: ClassVar[tuple[str, ...]] = ("condition_path", "start")

    start: str = option(
        "", "an existing ControlNet (folder or file) to go on from; none copies the UNet's encoder"
    )


SPEC = MethodSpec(
    name="controlnet",
    title="ControlNet",
    goal="make the model obey pose, depth or edges",
    input="pairs: condition map and picture, thousands of them; maps can be made from the pictures",
    output="a new ControlNet file",
    use="scenes with exact poses, sketches, depth; heavy, strong control",
    options=ControlnetOptions,
    formats=("controlnet", "controlnet_folder", "controlnet_ldm"),
    default_formats=2,
    requires=frozenset({"unet", "controlnet"}),
    typical_pictures=(1000, 200_000),
    asks=("controlnet.condition", "controlnet.condition_path", "data.trigger", "data.flip"),
    class_pictures=False,
    notes=(
        "the condition takes hold suddenly, after 3,000 to 7,000 steps at batch 4; the loss does not show it",
    ),
)
