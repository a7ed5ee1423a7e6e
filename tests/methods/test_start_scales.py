"""No fresh module shouts at the denoiser: its output before the first step is as large as the reference's."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import pytest
import torch

from tests.methods import start_scales
from tests.methods.start_scales import Scale

MEASURES: dict[str, Callable[[], Iterator[Scale]]] = {
    "t2i_adapter": partial(start_scales.adapters, 256),
    "controlnet": partial(start_scales.controlnet, 256),
    "hypernetwork": start_scales.hypernetwork,
    "lora": start_scales.lora,
    "textual_inversion": start_scales.words,
    "scratch": partial(start_scales.scratch, "narrow"),
}
# Another seed moves the adapters' features by up to a third; a residual net under He's law is 200 to 250,000 times off.
BAND = (0.6, 1.7)
HIDDEN = "before its zero convolution"


@pytest.mark.parametrize("method", MEASURES)
def test_outputs_start_as_large_as_the_references(method: str) -> None:
    with torch.random.fork_rng(devices=[]):
        rows = list(MEASURES[method]())
    assert rows
    for row in rows:
        if HIDDEN in row.output:
            assert row.reference * 20 < row.ours < 1, (
                f"{row}: the condition arrives, and is no larger than a picture"
            )
        elif row.reference == 0:
            assert row.ours == 0, row
        else:
            assert BAND[0] < row.ours / row.reference < BAND[1], row
