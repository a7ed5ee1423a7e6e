"""Hostile diffusers folders: configs of wrong kinds, false indexes, and what is no plain file."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from engine.models.bases import builtin_models
from tests.hostile.case import EITHER, ESCAPE, Box, Hostile

DEEP = 100_000


JSON: dict[str, bytes] = {
    "nothing": b"",
    "rubbish": b"\xff\xfe\x00",
    "no JSON": b"{",
    "a list": b"[]",
    "a number": b"5",
    "deeper than Python's stack": b'{"a": ' + b"[" * DEEP,
    "5,000 digits": b'{"a": ' + b"9" * 5000 + b"}",
    "30 MB": b'{"a": "' + b"a" * 30_000_000 + b'"}',
}
CONFIGS: tuple[str, ...] = (
    "model_index.json",
    "unet/config.json",
    "vae/config.json",
    "text_encoder/config.json",
)
CONFIGS += ("scheduler/scheduler_config.json", "tokenizer/vocab.json", "tokenizer/tokenizer_config.json")
FIELDS: dict[str, list[dict[str, Any]]] = {
    "unet/config.json": [
        {"block_out_channels": "many"},
        {"block_out_channels": [10**12, 10**12, 10**12, 10**12]},
        {"block_out_channels": []},
        {"block_out_channels": 64},
        {"block_out_channels": [-1, 0, 1, 2]},
        {"down_block_types": ["os.system"]},
        {"down_block_types": 5},
        {"cross_attention_dim": None},
        {"cross_attention_dim": 10**30},
        {"attention_head_dim": {"a": 1}},
        {"in_channels": -4},
        {"in_channels": "4"},
        {"sample_size": 10**30},
        {"layers_per_block": 10**9},
        {"_class_name": 5},
        {"_class_name": ESCAPE},
        {"_class_name": "../../x"},
        {"addition_embed_type": "image"},
        {"transformer_layers_per_block": [10**9]},
        {"norm_num_groups": 0},
        {"act_fn": "eval"},
        {"quantization_config": {"load_in_4bit": True}},
        {"auto_map": {"AutoModel": "evil.Evil"}},
    ],
    "vae/config.json": [
        {"latent_channels": 10**9},
        {"scaling_factor": "x"},
        {"scaling_factor": 0},
        {"scaling_factor": 1e400},
        {"block_out_channels": None},
    ],
    "text_encoder/config.json": [
        {"hidden_size": 10**12},
        {"num_hidden_layers": 10**9},
        {"max_position_embeddings": 0},
        {"architectures": 5},
        {"architectures": [ESCAPE]},
        {"vocab_size": -1},
        {"auto_map": {"AutoModel": "evil--evil.Evil"}},
    ],
    "scheduler/scheduler_config.json": [
        {"prediction_type": 5},
        {"prediction_type": ESCAPE},
        {"num_train_timesteps": 10**12},
        {"num_train_timesteps": 0},
        {"beta_start": "x"},
        {"beta_end": 1e400},
        {"beta_schedule": "__import__('os')"},
        {"trained_betas": [[1]]},
        {"_class_name": [1]},
    ],
    "model_index.json": [
        {"_class_name": 5},
        {"_class_name": ESCAPE},
        {"unet": ["os", "system"]},
        {"text_encoder": "x"},
    ],
    "tokenizer/tokenizer_config.json": [
        {"model_max_length": "x"},
        {"model_max_length": -1},
        {"model_max_length": 10**30},
        {"auto_map": {"AutoTokenizer": ["evil.Evil", None]}},
        {"tokenizer_class": "os.system"},
    ],
}


def _changed(name: str, content: bytes | None) -> Callable[[Box], list[str]]:
    def make(box: Box) -> list[str]:
        return box.base(box.model(**{name.replace("/", "__"): content}))

    return make


def _with(name: str, fields: dict[str, Any]) -> bytes:
    return json.dumps(json.loads((builtin_models()["tiny"] / name).read_text()) | fields).encode()


def _folders() -> Iterator[Hostile]:
    """What is no plain file in the place of a model or of one of its files."""
    weights = "unet/diffusion_pytorch_model.safetensors"

    def fifo(box: Box, place: Path) -> None:
        os.mkfifo(place)

    def device(box: Box, place: Path) -> None:
        place.symlink_to("/dev/zero")

    def loop(box: Box, place: Path) -> None:
        place.symlink_to(place.name)

    def folder(box: Box, place: Path) -> None:
        place.mkdir()

    def socket(box: Box, place: Path) -> None:
        os.mknod(place, 0o140600)

    for kind in (fifo, device, loop, folder, socket):
        for name in (weights, "unet/config.json", "model_index.json", "tokenizer/vocab.json"):

            def inside(box: Box, kind: Any = kind, name: str = name) -> list[str]:
                model = box.model(**{name.replace("/", "__"): None})
                kind(box, model / name)
                return box.base(model)

            yield Hostile(f"base with {kind.__name__} as {name}", inside, EITHER)

        def alone(box: Box, kind: Any = kind) -> list[str]:
            kind(box, box.input / "m.safetensors")
            return box.base(box.input / "m.safetensors")

        yield Hostile(f"base is {kind.__name__}", alone)


def _indexes() -> Iterator[Hostile]:
    weights, index = (
        "unet/diffusion_pytorch_model.safetensors",
        "unet/diffusion_pytorch_model.safetensors.index.json",
    )
    tables: dict[str, object] = {
        "upwards": {"conv_in.weight": "../../../etc/passwd"},
        "at the root": {"conv_in.weight": "/etc/passwd"},
        "missing": {"conv_in.weight": "gone.safetensors"},
        "of numbers": {"conv_in.weight": 5},
        "of nothing": {},
        "that is a list": [],
        "of escapes": {"conv_in.weight": ESCAPE.replace("/", "")},
        "of itself": {"conv_in.weight": "diffusion_pytorch_model.safetensors.index.json"},
        "of 100,000 files": {f"t{n}": f"{n}.safetensors" for n in range(100_000)},
    }
    for title, table in tables.items():

        def make(box: Box, table: object = table) -> list[str]:
            content = json.dumps({"weight_map": table})
            return box.base(
                box.model(**{weights.replace("/", "__"): None, index.replace("/", "__"): content})
            )

        yield Hostile(f"base with an index {title}", make)


def cases() -> Iterator[Hostile]:
    """All cases of bases; each is looked at by the check, as before every run."""
    for name in CONFIGS:
        for title, content in JSON.items():
            yield Hostile(f"base: {name} of {title}", _changed(name, content), EITHER)
        yield Hostile(f"base without {name}", _changed(name, None), EITHER)
    for name, changes in FIELDS.items():
        for fields in changes:
            title = f"base: {name} with {json.dumps(fields)[:60]}"
            yield Hostile(title, _changed(name, _with(name, fields)), EITHER)
    yield from _folders()
    yield from _indexes()
