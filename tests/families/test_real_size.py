"""At real size (meta device, published configs) names, shapes and counts are those of the published files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from diffusers import UNet2DConditionModel
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from engine.export import kohya
from engine.export.base import About, ExportRequest, ModelFacts
from engine.families.load import FAMILIES
from engine.families.schedule import NoiseSchedule
from engine.families.sd1 import StableDiffusion1
from engine.families.single_file import key_maps
from engine.families.single_file_config import parts_of, published
from engine.methods.artifact import Artifact
from engine.methods.lora import canonical

Shape = tuple[int, ...]
Shapes = dict[str, tuple[Shape, Shape]]
NAMES = ("sd1", "sd2", "sdxl")
PARAMETERS = {
    "sd1": {"unet": 859_520_964, "text_encoder": 123_060_480},
    "sd2": {"unet": 865_910_724, "text_encoder": 340_387_840},
    "sdxl": {"unet": 2_567_463_684, "text_encoder": 123_060_480, "text_encoder_2": 694_659_840},
}
# Modules of a kohya LoRA over attention and feed-forward layers, and tensors of the single file by part.
MODULES = {"sd1": (192, 72), "sd2": (192, 138), "sdxl": (722, 72 + 192)}
TENSORS = {
    "sd1": {"unet": 686, "vae": 248, "text_encoder": 196},
    # 23 of the file's 24 layers: diffusers leaves out the last, and joins q, k and v in the file.
    "sd2": {"unet": 686, "vae": 248, "text_encoder": 23 * 12 + 4},
    "sdxl": {"unet": 1680, "vae": 248, "text_encoder": 196, "text_encoder_2": 32 * 12 + 5},
}


@pytest.fixture(scope="module", params=NAMES)
def model(request: pytest.FixtureRequest) -> StableDiffusion1:
    """A family at its published size, without memory for its weights."""
    name = str(request.param)
    configs = {part: published(name, part) for part in (*parts_of(name), "scheduler")}
    with torch.device("meta"):
        parts: dict[str, nn.Module] = {"unet": UNet2DConditionModel.from_config(configs["unet"])}
        for part in parts_of(name)[2:]:
            kind = CLIPTextModelWithProjection if part == "text_encoder_2" else CLIPTextModel
            parts[part] = kind(CLIPTextConfig(**configs[part]))
    return FAMILIES[name](parts, {}, NoiseSchedule.from_config(configs["scheduler"]), configs)


def test_parameters_are_as_many_as_published(model: StableDiffusion1) -> None:
    for part, count in PARAMETERS[model.spec.name].items():
        assert sum(value.numel() for value in model.parts[part].parameters()) == count


def test_a_kohya_lora_has_the_published_names_and_shapes(model: StableDiffusion1) -> None:
    family = model.spec.name
    found = _exported(model)
    expected = {**dict(_unet(family)), **dict(_text(family))}
    assert sum(name.startswith("lora_unet_") for name in found) == MODULES[family][0]
    assert sum(name.startswith("lora_te") for name in found) == MODULES[family][1]
    assert found == expected


def test_single_files_have_the_published_number_of_tensors(model: StableDiffusion1) -> None:
    maps = key_maps(model.spec.name, model.configs)
    counts = {part: len({slot.key for slot in slots.values()}) for part, slots in maps.items()}
    assert counts == TENSORS[model.spec.name]


def _exported(model: StableDiffusion1) -> Shapes:
    """Shapes of (down, up) by kohya's module name, of a rank 1 LoRA on every attention and feed-forward layer."""
    tensors: dict[str, torch.Tensor] = {}
    for part in ("unet", *model.spec.text_parts):
        modules = dict(model.parts[part].named_modules())
        for path in model.lora_targets(part, "attention_ff"):
            weight = modules[path].weight
            assert isinstance(weight, torch.Tensor)
            rest = tuple(weight.shape[2:])
            ones = (1,) * len(rest)
            down, up = f"{path}.lora_A.weight", f"{path}.lora_B.weight"
            tensors[canonical(part, down)] = torch.zeros(1, weight.shape[1], *rest)
            tensors[canonical(part, up)] = torch.zeros(weight.shape[0], 1, *ones)
    about = About("x", "p", "base", "b", 0.0)
    facts = ModelFacts(model.spec.name, "epsilon", model.configs)
    artifact = Artifact("lora", tensors, {"rank": 1, "alpha": 1.0})
    content = kohya.compose(ExportRequest(artifact, facts, about, 1, Path("x.safetensors"))).tensors
    names = sorted({name.partition(".")[0] for name in content})
    assert len(content) == 3 * len(names)
    shapes = {name: tuple(value.shape) for name, value in content.items()}
    return {m: (shapes[f"{m}.lora_down.weight"], shapes[f"{m}.lora_up.weight"]) for m in names}


def _linear(inputs: int, outputs: int) -> tuple[Shape, Shape]:
    return (1, inputs), (outputs, 1)


def _unet(family: str) -> Iterator[tuple[str, tuple[Shape, Shape]]]:
    """Written down from the papers' architecture: where transformers stand, how deep and how wide they are."""
    if family == "sdxl":
        deep = {4: (2, 640), 5: (2, 640), 7: (10, 1280), 8: (10, 1280)}
        places = [(f"input_blocks_{number}_1", *size) for number, size in deep.items()]
        places += [("middle_block_1", 10, 1280)]
        places += [(f"output_blocks_{n}_1", 10 if n < 3 else 2, 1280 if n < 3 else 640) for n in range(6)]
        context = 2048
    else:
        widths = (320, 640, 1280)
        places = [(f"down_blocks_{n}_attentions_{i}", 1, widths[n]) for n in range(3) for i in range(2)]
        places += [("mid_block_attentions_0", 1, 1280)]
        places += [(f"up_blocks_{n}_attentions_{i}", 1, widths[3 - n]) for n in range(1, 4) for i in range(3)]
        context = 768 if family == "sd1" else 1024
    for place, depth, width in places:
        for end in ("proj_in", "proj_out"):
            square = ((1, width, 1, 1), (width, 1, 1, 1)) if family == "sd1" else _linear(width, width)
            yield f"lora_unet_{place}_{end}", square
        for block in range(depth):
            start = f"lora_unet_{place}_transformer_blocks_{block}"
            for attention, inputs in (("attn1", width), ("attn2", context)):
                yield f"{start}_{attention}_to_q", _linear(width, width)
                yield f"{start}_{attention}_to_k", _linear(inputs, width)
                yield f"{start}_{attention}_to_v", _linear(inputs, width)
                yield f"{start}_{attention}_to_out_0", _linear(width, width)
            yield f"{start}_ff_net_0_proj", _linear(width, 8 * width)
            yield f"{start}_ff_net_2", _linear(4 * width, width)


def _text(family: str) -> Iterator[tuple[str, tuple[Shape, Shape]]]:
    encoders = {
        "sd1": {"lora_te": (12, 768)},
        "sd2": {"lora_te": (23, 1024)},
        "sdxl": {"lora_te1": (12, 768), "lora_te2": (32, 1280)},
    }
    for prefix, (layers, width) in encoders[family].items():
        for layer in range(layers):
            start = f"{prefix}_text_model_encoder_layers_{layer}"
            for name in ("q_proj", "k_proj", "v_proj", "out_proj"):
                yield f"{start}_self_attn_{name}", _linear(width, width)
            yield f"{start}_mlp_fc1", _linear(width, 4 * width)
            yield f"{start}_mlp_fc2", _linear(4 * width, width)
