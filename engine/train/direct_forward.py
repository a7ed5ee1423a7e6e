"""Shorter ways through diffusers' blocks and peft's layers: the same arithmetic with less Python and fewer kernels.

A training step on small batches is bound by launches. diffusers' blocks ask at each pass which of their many kinds they
are, look up a signature an attention, and divide by 1.0; peft casts each input to the dtype of its weights, which
autocast then casts back. A module whose settings leave one way only becomes a class of the same name that goes it;
every bit of the result and of the gradients stays. Others stay as they are.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any, cast

from torch import nn


def shorter() -> Mapping[type, Any]:
    """Of each class the one that goes the shorter way. Where nobody has imported peft, which takes most of a second,
    there is no layer of it."""
    from engine.train.direct_blocks import BLOCKS

    if "peft" not in sys.modules:
        return BLOCKS
    from engine.train.direct_lora import LAYERS

    return {**BLOCKS, **LAYERS}


def shorten(module: nn.Module) -> None:
    """Let everything in a module that can go the shorter way do so, where it stands; hooks and weights stay."""
    classes = shorter()
    for part in module.modules():
        direct = classes.get(type(part))
        if direct is not None and direct.fits(part):
            cast(Any, part).__class__ = direct
