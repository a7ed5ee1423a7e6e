"""How one parameter is stored in a single file: under which name and in which form."""

from dataclasses import dataclass
from typing import Literal

# same: as it is. conv: a Linear [o, i] stored as a 1x1 convolution [o, i, 1, 1]. transposed: [o, i] stored as
# [i, o]. q, k, v: one third of open_clip's fused in_proj, in this order along the first axis.
Form = Literal["same", "conv", "transposed", "q", "k", "v"]
THIRDS: tuple[Form, ...] = ("q", "k", "v")


@dataclass(frozen=True)
class Slot:
    """The place of one diffusers parameter in a single file."""

    key: str
    form: Form = "same"


KeyMap = dict[str, Slot]
