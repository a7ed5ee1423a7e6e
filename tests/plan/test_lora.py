"""How many numbers an adapter of each kind has, counted by hand."""

from __future__ import annotations

import pytest

from engine.models.layers import Layer
from engine.plan.methods.context import BaseShape
from engine.plan.methods.lora import LoraOptions
from engine.plan.methods.lora_counts import parameters

PLAIN = Layer("down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q", "attention", 320, 320)
WIDE = Layer("down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k", "attention", 768, 320)
CONVOLUTION = Layer("down_blocks.0.resnets.0.conv1", "conv", 320, 320, 3)


@pytest.mark.parametrize(
    ("options", "layer", "rank", "count"),
    [
        ({}, WIDE, 4, 4 * (768 + 320)),
        ({}, CONVOLUTION, 4, 4 * (320 * 9 + 320)),
        ({"dora": True}, WIDE, 4, 4 * (768 + 320) + 320),
        ({"kind": "loha"}, WIDE, 4, 2 * 4 * (768 + 320)),
        ({"kind": "lokr"}, PLAIN, 4, 16 * 16 + 4 * (20 + 20)),
        ({"kind": "lokr"}, PLAIN, 9, 16 * 16 + 9 * (20 + 20)),
        (
            {"kind": "lokr"},
            PLAIN,
            10,
            16 * 16 + 20 * 20,
        ),  # a pair of half the side is no smaller than the matrix
        ({"kind": "lokr"}, WIDE, 4, 16 * 24 + 4 * (20 + 32)),
        ({"kind": "lokr"}, CONVOLUTION, 4, 16 * 16 + 4 * (20 + 20 * 9)),
        ({"kind": "lokr"}, CONVOLUTION, 10, 16 * 16 + 20 * 20 * 9),
        ({"kind": "lokr", "factor": 8}, PLAIN, 4, 8 * 8 + 4 * (40 + 40)),
        ({"kind": "lokr", "factor": 7}, PLAIN, 4, 5 * 5 + 4 * (64 + 64)),  # 7 divides no side: 5 does
        ({"kind": "lokr", "factor": 64}, PLAIN, 1, 64 * 64 + 1 * (5 + 5)),
        ({"kind": "lokr", "factor": 256}, PLAIN, 4, 16 * 16 + 4 * (20 + 20)),
    ],
)
def test_an_adapter_has_as_many_numbers_as_its_matrices(
    options: dict[str, object], layer: Layer, rank: int, count: int
) -> None:
    assert parameters(LoraOptions.model_validate(options), [(layer, rank)]) == count


def test_the_text_encoder_counts_where_it_is_adapted() -> None:
    text = Layer("text_model.encoder.layers.0.self_attn.q_proj", "attention", 768, 768, text=True)
    shape = BaseShape("sd1", {}, [PLAIN], [text], 768)
    assert LoraOptions(rank=4).trained_parameters(shape, "") == 4 * 640
    assert LoraOptions(rank=4, text_encoder=True).trained_parameters(shape, "") == 4 * (640 + 1536)


def test_what_the_check_will_refuse_is_counted_without_it() -> None:
    shape = BaseShape("sd1", {"block_out_channels": [320, 640, 1280, 1280]}, [PLAIN], [], 768)
    asked = LoraOptions(rank=4, block_ranks=["NOWHERE=8"])
    assert asked.trained_parameters(shape, "") == 4 * 640
