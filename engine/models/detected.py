"""What was found out about a base model: the record, and what its readers share."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from engine.errors import UserError
from engine.models.family_spec import FamilySpec
from engine.models.specs import FAMILIES
from engine.tensorfiles.header import TensorInfo

_KNOWN = [spec.short for spec in FAMILIES.values()]
SUPPORTED = f"sdtrain trains {', '.join(_KNOWN[:-1])} and {_KNOWN[-1]} models: give one of those as the base"


@dataclass(frozen=True)
class Detected:
    """What a base model is. `parts` are those that it has, `reasons` says, a line each, what the answer rests on, and
    `doubt` why it cannot be known what the model predicts."""

    path: Path
    kind: Literal["diffusers", "single_file"]
    family: str
    prediction: str
    variant: Literal["base", "inpainting"]
    dtype: str
    parts: tuple[str, ...]
    reasons: tuple[str, ...]
    doubt: str = ""


def variant_of(
    path: Path, spec: FamilySpec, channels: int, reasons: list[str]
) -> Literal["base", "inpainting"]:
    """The variant by the denoiser's input channels; UserError for those that are no base."""
    own, title = spec.latent_channels, spec.denoiser_title
    if channels == own:
        return "base"
    if channels == 2 * own + 1:  # a mask and the masked picture beside the latents
        reasons.append(f"inpainting: the {title} takes {channels} channels")
        return "inpainting"
    known = {8: "an InstructPix2Pix model", 7: "an upscaler", 5: "a depth model"}
    raise UserError(
        f"{path} is {known.get(channels, 'a model with an unusual input')}",
        why=f"its {title} takes {channels} channels; text-to-image models take {own}",
        fix=SUPPORTED,
    )


def main_dtype(tensors: Iterable[TensorInfo]) -> str:
    """The dtype that most tensors have: fp16, bf16, fp32, or another one's name in lower case."""
    counts = Counter(info.dtype for info in tensors)
    most = counts.most_common(1)[0][0]
    return {"F16": "fp16", "BF16": "bf16", "F32": "fp32", "F64": "fp64"}.get(most, most.lower())
