"""What was found out about a base model: the record, and what its readers share."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from engine.errors import UserError
from engine.tensorfiles.header import TensorInfo

SUPPORTED = "sdtrain trains SD 1.x, SD 2.x and SDXL models: give one of those as the base"


@dataclass(frozen=True)
class Detected:
    """What a base model is. `reasons` says, a line each, what the answer rests on."""

    path: Path
    kind: Literal["diffusers", "single_file"]
    family: str
    prediction: str
    variant: Literal["base", "inpainting"]
    dtype: str
    parts: tuple[str, ...]
    reasons: tuple[str, ...]


def variant_of(path: Path, channels: int, reasons: list[str]) -> Literal["base", "inpainting"]:
    """The variant by the UNet's input channels; UserError for those that are no base."""
    if channels == 4:
        return "base"
    if channels == 9:
        reasons.append("inpainting: the UNet takes 9 channels")
        return "inpainting"
    known = {8: "an InstructPix2Pix model", 7: "an upscaler", 5: "a depth model"}
    raise UserError(
        f"{path} is {known.get(channels, 'a model with an unusual input')}",
        why=f"its UNet takes {channels} channels; text-to-image models take 4",
        fix=SUPPORTED,
    )


def main_dtype(tensors: Iterable[TensorInfo]) -> str:
    """The dtype that most tensors have: fp16, bf16, fp32, or another one's name in lower case."""
    counts = Counter(info.dtype for info in tensors)
    most = counts.most_common(1)[0][0]
    return {"F16": "fp16", "BF16": "bf16", "F32": "fp32", "F64": "fp64"}.get(most, most.lower())
