"""At real size (meta device, published configs) every exported file has the names and shapes of the published ones."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from math import isqrt
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from engine.errors import UserError
from engine.export import a1111_embedding, a1111_hypernetwork, embedding
from engine.export.base import About, ExportRequest, ModelFacts
from engine.export.registry import get_format
from engine.export.whole_model import whole_model
from engine.families.loaded import LoadedFamily
from engine.families.registry import FAMILIES
from engine.families.single_file import single_file_tensors
from engine.families.variance_preserving import VariancePreserving
from engine.methods.artifact import Artifact
from engine.methods.hypernetwork import Hypernetwork
from engine.methods.lora import Lora, canonical
from engine.models.published import published
from engine.models.single_file_config import parts_of
from engine.plan.methods.hypernetwork import HypernetworkOptions
from engine.plan.methods.lora import LoraOptions
from tests.families.published_layouts import (
    PUBLISHED,
    Layout,
    Linear,
    hf_text,
    ldm_controlnet,
    ldm_unet,
    lora_layers,
    single_file,
    tencent_full,
    tencent_light,
)

NAMES = ("sd1", "sd2", "sdxl")
PARAMETERS = {
    "sd1": {"unet": 859_520_964, "vae": 83_653_863, "text_encoder": 123_060_480},
    "sd2": {"unet": 865_910_724, "vae": 83_653_863, "text_encoder": 340_387_840},
    "sdxl": {
        "unet": 2_567_463_684, "vae": 83_653_863, "text_encoder": 123_060_480, "text_encoder_2": 694_659_840,
    },
}  # fmt: skip
# As counted in published files. Modules of a kohya LoRA over attention and feed-forward layers (UNet, text encoders);
# tensors of a whole model's file (SD 1.x: 686 + 248 + 196); of a ControlNet.
MODULES = {"sd1": (192, 72), "sd2": (192, 138), "sdxl": (722, 72 + 192)}
WHOLE = {"sd1": 1130, "sd2": 686 + 248 + 294, "sdxl": 1680 + 248 + 196 + 390}
CONTROLNET = {"sd1": 340, "sd2": 340, "sdxl": 844}
PREFIXES = {"unet": "lora_unet", "text_encoder": "lora_te", "text_encoder_2": "lora_te2"}


@pytest.fixture(params=NAMES)
def model(request: pytest.FixtureRequest) -> Iterator[LoadedFamily]:
    """A family at its published size, without memory for its weights: what is built in the test has none either."""
    name = str(request.param)
    configs = {part: published(name, part) for part in (*parts_of(name), "scheduler")}
    schedule = VariancePreserving.from_config(configs["scheduler"])
    with torch.device("meta"):
        parts: dict[str, nn.Module] = {
            "unet": UNet2DConditionModel.from_config(configs["unet"]),
            "vae": AutoencoderKL.from_config(configs["vae"]),
        }
        for part in parts_of(name)[2:]:
            kind = CLIPTextModelWithProjection if part == "text_encoder_2" else CLIPTextModel
            parts[part] = kind(CLIPTextConfig(**configs[part]))
        yield FAMILIES[name](parts, {}, schedule, configs)


def _request(model: LoadedFamily, artifact: Artifact) -> ExportRequest:
    facts = ModelFacts(model.spec.name, "epsilon", model.configs)
    about = About("x", "p", "base", "b", 0.0)
    return ExportRequest(artifact, facts, about, 1, Path("x.safetensors"), base=lambda: model)


def _layout(tensors: dict[str, Tensor]) -> Layout:
    return {name: tuple(value.shape) for name, value in tensors.items()}


def _composed(model: LoadedFamily, form: str, artifact: Artifact) -> Layout:
    with torch.device("cpu"):
        return _layout(get_format(form).compose(_request(model, artifact)).tensors)


def test_parameters_are_as_many_as_published(model: LoadedFamily) -> None:
    for part, count in PARAMETERS[model.spec.name].items():
        assert sum(value.numel() for value in model.parts[part].parameters()) == count


def _lora(model: LoadedFamily, **options: Any) -> Artifact:
    """A LoRA over attention and feed-forward layers; its own tensors are zeros in memory, as values are looked at."""
    asked = {"rank": 2, "alpha": 2.0, "targets": "attention_ff", "text_encoder": True} | options
    given = LoraOptions.model_validate(asked)
    trained = Lora(given, 1e-4, 0).prepare(model)
    tensors = {}
    for item in trained:
        name = canonical(item.module, item.name.removeprefix(f"{item.module}."))
        tensors[name] = torch.zeros(item.parameter.shape, device="cpu")
    facts: dict[str, object] = {"kind": given.kind, "rank": 2, "alpha": 2.0, "alphas": {}, "scale": 1.0}
    return Artifact("lora", tensors, facts)


def _adapted(family: str) -> Iterator[tuple[str, Linear]]:
    """kohya's name of every adapted layer: SGM's blocks for SDXL's UNet, else diffusers'."""
    for part, layers in lora_layers(family, sgm=family == "sdxl").items():
        prefix = "lora_te1" if family == "sdxl" and part == "text_encoder" else PREFIXES[part]
        for layer in layers:
            yield f"{prefix}_{layer[0]}".replace(".", "_"), layer


def _kernel(side: int) -> tuple[int, ...]:
    return (side, side) if side else ()


def test_a_kohya_lora_has_the_published_names_and_shapes(model: LoadedFamily) -> None:
    family = model.spec.name
    expected: Layout = {}
    for name, (_, inputs, outputs, side) in _adapted(family):
        expected[f"{name}.lora_down.weight"] = (2, inputs, *_kernel(side))
        expected[f"{name}.lora_up.weight"] = (outputs, 2, *_kernel(side and 1))
        expected[f"{name}.alpha"] = ()
    found = _composed(model, "kohya", _lora(model))
    assert found == expected
    assert len([name for name in found if name.startswith("lora_unet")]) == 3 * MODULES[family][0]
    assert len([name for name in found if name.startswith("lora_te")]) == 3 * MODULES[family][1]
    known = {
        "sd1": "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q.alpha",
        "sd2": "lora_te_text_model_encoder_layers_22_self_attn_q_proj.lora_up.weight",
        "sdxl": "lora_unet_input_blocks_4_1_transformer_blocks_0_attn1_to_q.lora_down.weight",
    }
    assert known[family] in found


def test_convolutions_of_a_kohya_lora_are_those_of_the_published_unet(model: LoadedFamily) -> None:
    family = model.spec.name
    endings = (".in_layers.2", ".emb_layers.1", ".out_layers.3", ".skip_connection", ".op", ".conv")
    layers = {name.removesuffix(".weight"): shape for name, shape in ldm_unet(family) if len(shape) > 1}
    wanted = {
        f"lora_unet_{name}".replace(".", "_"): shape
        for name, shape in layers.items()
        if name.endswith(endings)
    }
    plain = set(_composed(model, "kohya", _lora(model, text_encoder=False)))
    with torch.device("meta"):
        model = FAMILIES[family](
            {**model.parts, "unet": UNet2DConditionModel.from_config(model.configs["unet"])},
            {}, model.schedule, model.configs,
        )  # fmt: skip
    every = _composed(model, "kohya", _lora(model, targets="all", text_encoder=False))
    added = {name: shape for name, shape in every.items() if name not in plain}
    downs = {n.partition(".")[0]: s for n, s in added.items() if n.endswith(".lora_down.weight")}
    ups = {n.partition(".")[0]: s for n, s in added.items() if n.endswith(".lora_up.weight")}
    found = {name: (ups[name][0], *downs[name][1:]) for name in downs}
    assert len(added) == 3 * len(found)
    if family == "sdxl":
        assert found == wanted
        return
    assert sorted(found.values()) == sorted(wanted.values())
    stems = ("conv1", "conv2", "conv_shortcut", "time_emb_proj", "downsamplers_0_conv", "upsamplers_0_conv")
    assert {name for name in found if not name.endswith(stems)} == set()


def test_a_diffusers_lora_has_pefts_names(model: LoadedFamily) -> None:
    expected: Layout = {}
    for part, layers in lora_layers(model.spec.name).items():
        for name, inputs, outputs, side in layers:
            expected[f"{part}.{name}.lora_A.weight"] = (2, inputs, *_kernel(side))
            expected[f"{part}.{name}.lora_B.weight"] = (outputs, 2, *_kernel(side and 1))
    assert _composed(model, "diffusers", _lora(model)) == expected


def test_a_loha_has_lycoris_names_and_shapes(model: LoadedFamily) -> None:
    expected: Layout = {}
    for name, (_, inputs, outputs, _) in _adapted(model.spec.name):
        for pair in ("hada_w1", "hada_w2"):
            expected[f"{name}.{pair}_a"], expected[f"{name}.{pair}_b"] = (outputs, 2), (2, inputs)
        expected[f"{name}.alpha"] = ()
    assert _composed(model, "kohya", _lora(model, kind="loha")) == expected


def test_a_lokr_has_lycoris_names_and_shapes(model: LoadedFamily) -> None:
    def small(side: int) -> int:
        """LyCORIS' factorization with factor -1: the divisor nearest to the square root from below."""
        return max(number for number in range(1, isqrt(side) + 1) if side % number == 0)

    expected: Layout = {}
    for name, (_, inputs, outputs, _) in _adapted(model.spec.name):
        out, into = small(outputs), small(inputs)
        expected[f"{name}.lokr_w1"] = (out, into)
        expected[f"{name}.lokr_w2_a"], expected[f"{name}.lokr_w2_b"] = (
            (outputs // out, 2),
            (2, inputs // into),
        )
        expected[f"{name}.alpha"] = ()
    assert _composed(model, "kohya", _lora(model, kind="lokr")) == expected


def test_a_single_file_has_the_published_names_and_shapes(model: LoadedFamily) -> None:
    family = model.spec.name
    parts = {part: module.state_dict() for part, module in model.parts.items()}
    found = _layout(single_file_tensors(family, parts, {p: dict(c) for p, c in model.configs.items()}))
    assert found == single_file(family)
    assert len(found) == WHOLE[family]


def test_a_diffusers_folder_has_the_names_that_transformers_4_reads(model: LoadedFamily) -> None:
    family = model.spec.name
    parts = whole_model(_request(model, Artifact("full", {}))).parts
    found = {part: _layout(dict(state)) for part, state in parts.items()}
    texts = PUBLISHED[family].texts
    assert found["text_encoder"] == dict(hf_text(23 if family == "sd2" else texts[0][0], texts[0][1]))
    if family == "sdxl":
        assert found["text_encoder_2"] == {**dict(hf_text(*texts[1])), "text_projection.weight": (1280, 1280)}
    # UNet and VAE have the names of diffusers' own modules, none lost and none added.
    assert len(found["unet"]) == (1680 if family == "sdxl" else 686) and len(found["vae"]) == 248
    for part in ("unet", "vae"):
        assert found[part] == _layout(dict(model.parts[part].state_dict()))
    for name, inputs, outputs, side in lora_layers(family)["unet"]:
        assert found["unet"][f"{name}.weight"] == (outputs, inputs, *_kernel(side))


EMBEDDINGS: dict[str, Layout] = {
    "sd1": {"emb_params": (3, 768)},
    "sd2": {"emb_params": (3, 1024)},
    "sdxl": {"clip_l": (3, 768), "clip_g": (3, 1280)},
}


@pytest.mark.parametrize("family", NAMES)
def test_embeddings_have_the_text_encoders_widths(family: str) -> None:
    texts = [published(family, part)["hidden_size"] for part in parts_of(family)[2:]]
    parts = ("text_encoder", "text_encoder_2")
    tensors = {f"{part}/<cat>": torch.zeros(3, width) for part, width in zip(parts, texts, strict=False)}
    about = About("x", "p", "base", "b", 0.0)
    artifact = Artifact("embedding", tensors, {"words": ("<cat>",)})
    request = ExportRequest(artifact, ModelFacts(family), about, 1, Path("x.safetensors"))
    assert _layout(embedding.compose(request).tensors) == EMBEDDINGS[family]
    packed = a1111_embedding.pack(replace(request, out=Path("x.pt")))
    if family == "sdxl":
        assert _layout(packed) == EMBEDDINGS["sdxl"]
    else:
        assert _layout(packed["string_to_param"]) == {"*": EMBEDDINGS[family]["emb_params"]}


WIDTHS = {"sd1": [320, 640, 768, 1280], "sd2": [320, 640, 1024, 1280], "sdxl": [640, 1280, 2048]}


def test_a_hypernetwork_has_a_pair_for_every_context_width(model: LoadedFamily) -> None:
    options = HypernetworkOptions(layer_structure=[1, 2, 1], activation="relu", self_attention=True)
    method = Hypernetwork(options, 0)
    method.prepare(model)
    with torch.device("cpu"):
        method.pairs.to_empty(device="cpu")
    for value in method.pairs.parameters():
        value.data.zero_()
    saved = a1111_hypernetwork.pack(_request(model, method.artifact(model)))
    widths = WIDTHS[model.spec.name]
    assert [key for key in saved if not isinstance(key, str)] == widths
    for width in widths:
        sides = saved[width]
        expected = {
            "linear.0.weight": (2 * width, width),
            "linear.0.bias": (2 * width,),
            "linear.2.weight": (width, 2 * width),
            "linear.2.bias": (width,),
        }
        assert isinstance(sides, tuple) and [_layout(side) for side in sides] == [expected, expected]
    assert saved["layer_structure"] == [1, 2, 1] and saved["activation_func"] == "relu"


def _network(net: Any, kind: str) -> Artifact:
    return Artifact(kind, dict(net.state_dict()), {"config": dict(net.config)})


def test_a_controlnet_has_the_published_names_and_shapes(model: LoadedFamily) -> None:
    family = model.spec.name
    artifact = _network(model.new_controlnet(3), "controlnet")
    ldm, diffusers = (_composed(model, form, artifact) for form in ("controlnet_ldm", "controlnet"))
    assert ldm == ldm_controlnet(family)
    assert len(ldm) == len(diffusers) == CONTROLNET[family]
    unet = {
        name: shape
        for name, shape in _layout(dict(model.denoiser.state_dict())).items()
        if name.startswith(("conv_in", "time_embedding", "add_embedding", "down_blocks", "mid_block"))
    }
    assert unet.items() <= diffusers.items()
    own = {name: shape for name, shape in diffusers.items() if name not in unet}
    hint = "controlnet_cond_embedding"
    assert own[f"{hint}.conv_in.weight"] == (16, 3, 3, 3)
    assert own[f"{hint}.blocks.5.weight"] == (256, 96, 3, 3)
    assert own[f"{hint}.conv_out.weight"] == (320, 256, 3, 3)
    zeros = 9 if family == "sdxl" else 12
    names = {f"controlnet_down_blocks.{at}.weight" for at in range(zeros)} | {"controlnet_mid_block.weight"}
    assert names == {name for name in own if not name.startswith(hint) and name.endswith("weight")}
    assert _composed(model, "controlnet_folder", artifact) == diffusers


def _diffusers_adapter(family: str) -> Layout:
    """Full adapters under diffusers' names, from the table of the two spellings."""
    found = {}
    for name, shape in tencent_full(family).items():
        first, _, rest = name.removeprefix("body.").partition(".")
        if name.startswith("conv_in"):
            found[f"adapter.{name}"] = shape
        elif rest.startswith("in_conv"):
            found[f"adapter.body.{int(first) // 2}.{rest}"] = shape
        else:
            found[f"adapter.body.{int(first) // 2}.resnets.{int(first) % 2}.{rest}"] = shape
    return found


def test_a_t2i_adapter_has_the_published_names_and_shapes(model: LoadedFamily) -> None:
    family = model.spec.name
    artifact = _network(model.new_t2i_adapter("auto", 3), "t2i_adapter")
    found = _composed(model, "t2i_adapter_tencent", artifact)
    assert found == tencent_full(family) and len(found) == 38
    assert found["conv_in.weight"] == (320, 768 if family == "sdxl" else 192, 3, 3)
    for form in ("t2i_adapter", "t2i_adapter_folder"):
        assert _composed(model, form, artifact) == _diffusers_adapter(family)


def test_a_light_t2i_adapter_has_the_published_names_and_shapes(model: LoadedFamily) -> None:
    if model.spec.name == "sdxl":
        with pytest.raises(UserError, match="light_adapter does not fit"):
            model.new_t2i_adapter("light_adapter", 3)
        return
    artifact = _network(model.new_t2i_adapter("light_adapter", 3), "t2i_adapter")
    found = _composed(model, "t2i_adapter_tencent", artifact)
    assert found == tencent_light() and len(found) == 80
    folder = _composed(model, "t2i_adapter_folder", artifact)
    renamed = {name.replace(".body.", ".resnets."): shape for name, shape in tencent_light().items()}
    assert folder == {f"adapter.{name}": shape for name, shape in renamed.items()}
