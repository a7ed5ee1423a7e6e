"""Small models that write captions, made in the test: a BLIP of random weights, and a tagger that looks at colours."""

from __future__ import annotations

import csv
import struct
from collections.abc import Sequence
from pathlib import Path

import torch

TAGS = (
    ("rating_safe", 9),
    ("red", 0),
    ("green_grass", 0),
    ("blue sky", 0),
    ("^_^", 0),
    ("red_riding_hood", 4),
)
SIDE = 16
WORDS = (
    "[PAD]",
    "[UNK]",
    "[CLS]",
    "[SEP]",
    "[MASK]",
    "a",
    "red",
    "fox",
    "in",
    "snow",
    "blue",
    "sky",
    "hen",
)


def write_blip(folder: Path) -> Path:
    """A BLIP of 0.1 MB with transformers' own classes, as `save_pretrained` leaves it."""
    from transformers import (
        BertTokenizer,
        BlipConfig,
        BlipForConditionalGeneration,
        BlipImageProcessor,
        BlipProcessor,
    )

    torch.manual_seed(2)
    text = {
        "vocab_size": len(WORDS) + 2, "hidden_size": 16, "encoder_hidden_size": 16, "intermediate_size": 32,
        "projection_dim": 8, "num_hidden_layers": 2, "num_attention_heads": 2, "bos_token_id": len(WORDS),
        "eos_token_id": 3, "sep_token_id": 3, "pad_token_id": 0, "max_position_embeddings": 32,
    }  # fmt: skip
    vision = {
        "hidden_size": 16, "intermediate_size": 32, "projection_dim": 8, "num_hidden_layers": 2,
        "num_attention_heads": 2, "image_size": 32, "patch_size": 8,
    }  # fmt: skip
    model = BlipForConditionalGeneration(BlipConfig(text_config=text, vision_config=vision, projection_dim=8))
    # A larger spread than BLIP's own, so that different pictures give different words.
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=1.0)
    folder.mkdir(parents=True)
    (folder / "vocab.txt").write_text("\n".join(WORDS))
    images = BlipImageProcessor(size={"height": 32, "width": 32})
    BlipProcessor(images, BertTokenizer(str(folder / "vocab.txt"))).save_pretrained(folder)
    model.save_pretrained(folder)
    return folder


def write_tagger(folder: Path, rows: Sequence[tuple[str, int]] = TAGS) -> Path:
    """model.onnx and selected_tags.csv: a tag's chance follows from the picture's mean colour alone."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.onnx").write_bytes(_network(len(TAGS)))
    with (folder / "selected_tags.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("tag_id", "name", "category", "count"))
        writer.writerows((at, name, category, 1) for at, (name, category) in enumerate(rows))
    return folder


def _network(tags: int) -> bytes:
    """Mean over height and width, a matrix of 3 x tags, a bias, a sigmoid: ONNX's protobuf, written by hand."""
    # Blue, green, red (the order of these taggers) to: rating, red, green_grass, blue sky, ^_^, red_riding_hood.
    matrix = [0, -1, -1, 1, 0, -1, 0, -1, 1, -1, 0, -1, 0, 1, -1, -1, 0, 1]
    weights = struct.pack(f"<{3 * tags}f", *(value / 16 for value in matrix))
    bias = struct.pack(f"<{tags}f", 4, 0, 0, 0, 1, 0)
    axes = _field(1, b"axes") + b"".join(_number(8, axis) for axis in (1, 2)) + _number(20, 7)
    keep = _field(1, b"keepdims") + _number(3, 0) + _number(20, 2)
    nodes = [
        _node("ReduceMean", ["picture"], "mean", axes, keep),
        _node("MatMul", ["mean", "weights"], "scores"),
        _node("Add", ["scores", "bias"], "biased"),
        _node("Sigmoid", ["biased"], "chances"),
    ]
    graph = b"".join(_field(1, node) for node in nodes) + _field(2, b"colours")
    graph += _field(5, _tensor("weights", (3, tags), weights)) + _field(5, _tensor("bias", (tags,), bias))
    graph += _field(11, _value("picture", (1, SIDE, SIDE, 3))) + _field(12, _value("chances", (1, tags)))
    return _number(1, 8) + _field(8, _field(1, b"") + _number(2, 13)) + _field(7, graph)


def _node(kind: str, given: Sequence[str], out: str, *attributes: bytes) -> bytes:
    return (
        b"".join(_field(1, name.encode()) for name in given)
        + _field(2, out.encode())
        + _field(4, kind.encode())
        + b"".join(_field(5, each) for each in attributes)
    )


def _tensor(name: str, shape: Sequence[int], raw: bytes) -> bytes:
    return (
        b"".join(_number(1, side) for side in shape)
        + _number(2, 1)
        + _field(8, name.encode())
        + _field(9, raw)
    )


def _value(name: str, shape: Sequence[int]) -> bytes:
    sides = b"".join(_field(1, _number(1, side)) for side in shape)
    return _field(1, name.encode()) + _field(2, _field(1, _number(1, 1) + _field(2, sides)))


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def _field(number: int, body: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(body)) + body


def _number(number: int, value: int) -> bytes:
    return _varint(number << 3) + _varint(value)
