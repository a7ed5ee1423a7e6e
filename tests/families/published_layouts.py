"""Names and shapes of the published Stable Diffusion files, written down from the architectures alone.

UNet and VAE as CompVis' and Stability's model code builds them, text encoders as transformers 4 and open_clip do,
adapters as their own papers' code. Nothing here uses the engine's key maps.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

Shape = tuple[int, ...]
Layout = dict[str, Shape]
Entries = Iterator[tuple[str, Shape]]

TIME = 1280


@dataclass(frozen=True)
class Published:
    """`depths` are transformer blocks by level (0 has no attention), `middle` those of the middle block; `texts`
    are layers and width of each text encoder; `vector` is the width of what SDXL is told beside the text."""

    widths: tuple[int, ...]
    depths: tuple[int, ...]
    middle: int
    context: int
    linear: bool
    texts: tuple[tuple[int, int], ...]
    vector: int = 0


PUBLISHED = {
    "sd1": Published((320, 640, 1280, 1280), (1, 1, 1, 0), 1, 768, False, ((12, 768),)),
    "sd2": Published((320, 640, 1280, 1280), (1, 1, 1, 0), 1, 1024, True, ((24, 1024),)),
    "sdxl": Published((320, 640, 1280), (0, 2, 10), 10, 2048, True, ((12, 768), (32, 1280)), 2816),
}


def affine(name: str, *shape: int) -> Entries:
    """A weight of this shape and its bias."""
    yield f"{name}.weight", shape
    yield f"{name}.bias", shape[:1]


def _resnet(name: str, inputs: int, outputs: int) -> Entries:
    yield from affine(f"{name}.in_layers.0", inputs)
    yield from affine(f"{name}.in_layers.2", outputs, inputs, 3, 3)
    yield from affine(f"{name}.emb_layers.1", outputs, TIME)
    yield from affine(f"{name}.out_layers.0", outputs)
    yield from affine(f"{name}.out_layers.3", outputs, outputs, 3, 3)
    if inputs != outputs:
        yield from affine(f"{name}.skip_connection", outputs, inputs, 1, 1)


def _transformer(name: str, width: int, depth: int, model: Published) -> Entries:
    square = (width, width) if model.linear else (width, width, 1, 1)
    yield from affine(f"{name}.norm", width)
    yield from affine(f"{name}.proj_in", *square)
    for number in range(depth):
        block = f"{name}.transformer_blocks.{number}"
        for attention, context in (("attn1", width), ("attn2", model.context)):
            yield f"{block}.{attention}.to_q.weight", (width, width)
            yield f"{block}.{attention}.to_k.weight", (width, context)
            yield f"{block}.{attention}.to_v.weight", (width, context)
            yield from affine(f"{block}.{attention}.to_out.0", width, width)
        yield from affine(f"{block}.ff.net.0.proj", 8 * width, width)
        yield from affine(f"{block}.ff.net.2", width, 4 * width)
        for norm in (1, 2, 3):
            yield from affine(f"{block}.norm{norm}", width)
    yield from affine(f"{name}.proj_out", *square)


def _encoder_rows(model: Published) -> list[tuple[int, int, int]]:
    """(inputs, outputs, level) of every input block; inputs 0 is a downsampler."""
    rows, before = [], model.widths[0]
    for level, width in enumerate(model.widths):
        for _ in range(2):
            rows.append((before, width, level))
            before = width
        if level < len(model.widths) - 1:
            rows.append((0, width, level))
    return rows


def ldm_encoder(family: str) -> Entries:
    """What a UNet and its ControlNet share: embeddings, input blocks and middle."""
    model = PUBLISHED[family]
    first = model.widths[0]
    yield from affine("time_embed.0", TIME, first)
    yield from affine("time_embed.2", TIME, TIME)
    if model.vector:
        yield from affine("label_emb.0.0", TIME, model.vector)
        yield from affine("label_emb.0.2", TIME, TIME)
    yield from affine("input_blocks.0.0", first, 4, 3, 3)
    for number, (inputs, width, level) in enumerate(_encoder_rows(model), start=1):
        name = f"input_blocks.{number}"
        if not inputs:
            yield from affine(f"{name}.0.op", width, width, 3, 3)
            continue
        yield from _resnet(f"{name}.0", inputs, width)
        if model.depths[level]:
            yield from _transformer(f"{name}.1", width, model.depths[level], model)
    width = model.widths[-1]
    yield from _resnet("middle_block.0", width, width)
    yield from _transformer("middle_block.1", width, model.middle, model)
    yield from _resnet("middle_block.2", width, width)


def ldm_unet(family: str) -> Entries:
    """CompVis' openaimodel.UNetModel, and Stability's for SDXL."""
    model = PUBLISHED[family]
    yield from ldm_encoder(family)
    skips = [model.widths[0], *(width for _, width, _ in _encoder_rows(model))]
    before, number = model.widths[-1], 0
    for level in reversed(range(len(model.widths))):
        width, depth = model.widths[level], model.depths[level]
        for index in range(3):
            name = f"output_blocks.{number}"
            yield from _resnet(f"{name}.0", before + skips.pop(), width)
            if depth:
                yield from _transformer(f"{name}.1", width, depth, model)
            if index == 2 and level:
                yield from affine(f"{name}.{2 if depth else 1}.conv", width, width, 3, 3)
            before, number = width, number + 1
    yield from affine("out.0", model.widths[0])
    yield from affine("out.2", 4, model.widths[0], 3, 3)


def _vae_resnet(name: str, inputs: int, outputs: int) -> Entries:
    yield from affine(f"{name}.norm1", inputs)
    yield from affine(f"{name}.conv1", outputs, inputs, 3, 3)
    yield from affine(f"{name}.norm2", outputs)
    yield from affine(f"{name}.conv2", outputs, outputs, 3, 3)
    if inputs != outputs:
        yield from affine(f"{name}.nin_shortcut", outputs, inputs, 1, 1)


def _vae_middle(side: str) -> Entries:
    yield from _vae_resnet(f"{side}.mid.block_1", 512, 512)
    yield from affine(f"{side}.mid.attn_1.norm", 512)
    for name in ("q", "k", "v", "proj_out"):
        yield from affine(f"{side}.mid.attn_1.{name}", 512, 512, 1, 1)
    yield from _vae_resnet(f"{side}.mid.block_2", 512, 512)


def ldm_vae() -> Entries:
    """CompVis' AutoencoderKL with ch 128 and ch_mult 1, 2, 4, 4: the same in all three families."""
    widths = (128, 256, 512, 512)
    yield from affine("encoder.conv_in", 128, 3, 3, 3)
    for level, (inputs, width) in enumerate(pairwise((128, *widths))):
        for block in range(2):
            yield from _vae_resnet(f"encoder.down.{level}.block.{block}", width if block else inputs, width)
        if level < 3:
            yield from affine(f"encoder.down.{level}.downsample.conv", width, width, 3, 3)
    yield from _vae_middle("encoder")
    yield from affine("encoder.norm_out", 512)
    yield from affine("encoder.conv_out", 8, 512, 3, 3)
    yield from affine("quant_conv", 8, 8, 1, 1)
    yield from affine("post_quant_conv", 4, 4, 1, 1)
    yield from affine("decoder.conv_in", 512, 4, 3, 3)
    yield from _vae_middle("decoder")
    for level, width in enumerate(widths):
        inputs = widths[min(level + 1, 3)]
        for block in range(3):
            yield from _vae_resnet(f"decoder.up.{level}.block.{block}", width if block else inputs, width)
        if level:
            yield from affine(f"decoder.up.{level}.upsample.conv", width, width, 3, 3)
    yield from affine("decoder.norm_out", 128)
    yield from affine("decoder.conv_out", 3, 128, 3, 3)


def hf_text(layers: int, width: int) -> Entries:
    """transformers 4's CLIPTextModel, without position_ids, which later versions no longer store."""
    yield "text_model.embeddings.token_embedding.weight", (49408, width)
    yield "text_model.embeddings.position_embedding.weight", (77, width)
    for number in range(layers):
        name = f"text_model.encoder.layers.{number}"
        for part in ("q_proj", "k_proj", "v_proj", "out_proj"):
            yield from affine(f"{name}.self_attn.{part}", width, width)
        yield from affine(f"{name}.layer_norm1", width)
        yield from affine(f"{name}.layer_norm2", width)
        yield from affine(f"{name}.mlp.fc1", 4 * width, width)
        yield from affine(f"{name}.mlp.fc2", width, 4 * width)
    yield from affine("text_model.final_layer_norm", width)


def open_clip_text(layers: int, width: int) -> Entries:
    """open_clip's text tower as Stability's files hold it."""
    yield "token_embedding.weight", (49408, width)
    yield "positional_embedding", (77, width)
    for number in range(layers):
        name = f"transformer.resblocks.{number}"
        yield f"{name}.attn.in_proj_weight", (3 * width, width)
        yield f"{name}.attn.in_proj_bias", (3 * width,)
        yield from affine(f"{name}.attn.out_proj", width, width)
        yield from affine(f"{name}.ln_1", width)
        yield from affine(f"{name}.ln_2", width)
        yield from affine(f"{name}.mlp.c_fc", 4 * width, width)
        yield from affine(f"{name}.mlp.c_proj", width, 4 * width)
    yield from affine("ln_final", width)
    yield "text_projection", (width, width)
    yield "logit_scale", ()


def single_file(family: str) -> Layout:
    """Everything but position_ids and the schedule's buffers, which no program asks for."""
    texts = PUBLISHED[family].texts
    parts = {"model.diffusion_model.": ldm_unet(family), "first_stage_model.": ldm_vae()}
    if family == "sd1":
        parts["cond_stage_model.transformer."] = hf_text(*texts[0])
    elif family == "sd2":
        parts["cond_stage_model.model."] = open_clip_text(*texts[0])
    else:
        parts["conditioner.embedders.0.transformer."] = hf_text(*texts[0])
        parts["conditioner.embedders.1.model."] = open_clip_text(*texts[1])
    return {prefix + name: shape for prefix, entries in parts.items() for name, shape in entries}


def ldm_controlnet(family: str) -> Layout:
    """lllyasviel's ControlNet for three colours: the encoder, the hint's convolutions and the zero convolutions."""
    model = PUBLISHED[family]
    found = dict(ldm_encoder(family))
    hint = (3, 16, 16, 32, 32, 96, 96, 256, model.widths[0])
    for number, (inputs, outputs) in enumerate(pairwise(hint)):
        found |= affine(f"input_hint_block.{2 * number}", outputs, inputs, 3, 3)
    zeros = [model.widths[0], *(width for _, width, _ in _encoder_rows(model))]
    for number, width in enumerate(zeros):
        found |= affine(f"zero_convs.{number}.0", width, width, 1, 1)
    found |= affine("middle_block_out.0", model.widths[-1], model.widths[-1], 1, 1)
    return {f"control_model.{name}": shape for name, shape in found.items()}


def tencent_full(family: str, channels: int = 3) -> Layout:
    """TencentARC's Adapter with sk=True and use_conv=False: four levels of two blocks, numbered through."""
    widths = (320, 640, 1280, 1280)
    found = dict(affine("conv_in", 320, channels * (256 if family == "sdxl" else 64), 3, 3))
    for level, width in enumerate(widths):
        for block in (2 * level, 2 * level + 1):
            found |= affine(f"body.{block}.block1", width, width, 3, 3)
            found |= affine(f"body.{block}.block2", width, width, 1, 1)
        if level and widths[level - 1] != width:
            found |= affine(f"body.{2 * level}.in_conv", width, widths[level - 1], 1, 1)
    return found


def tencent_light(channels: int = 3) -> Layout:
    """TencentARC's Adapter_light: four blocks a level, a quarter as wide as the level."""
    found: Layout = {}
    for level, (inputs, width) in enumerate(pairwise((64 * channels, 320, 640, 1280, 1280))):
        inner = width // 4
        found |= affine(f"body.{level}.in_conv", inner, inputs, 1, 1)
        for block in range(4):
            for name in ("block1", "block2"):
                found |= affine(f"body.{level}.body.{block}.{name}", inner, inner, 3, 3)
        found |= affine(f"body.{level}.out_conv", width, inner, 1, 1)
    return found


Linear = tuple[str, int, int, int]
"""An adapted layer: its name, inputs, outputs, and the side of its kernel (0: a Linear)."""


def lora_unet(family: str, sgm: bool) -> Iterator[Linear]:
    """Attention, feed-forward and projection layers, with SGM's block names or diffusers'."""
    model = PUBLISHED[family]
    for place, depth, width in _places(model, sgm):
        for end in ("proj_in", "proj_out"):
            yield f"{place}.{end}", width, width, 0 if model.linear else 1
        for number in range(depth):
            block = f"{place}.transformer_blocks.{number}"
            for attention, context in (("attn1", width), ("attn2", model.context)):
                yield f"{block}.{attention}.to_q", width, width, 0
                yield f"{block}.{attention}.to_k", context, width, 0
                yield f"{block}.{attention}.to_v", context, width, 0
                yield f"{block}.{attention}.to_out.0", width, width, 0
            yield f"{block}.ff.net.0.proj", width, 8 * width, 0
            yield f"{block}.ff.net.2", 4 * width, width, 0


def _places(model: Published, sgm: bool) -> Iterator[tuple[str, int, int]]:
    """Where transformers stand, how deep and how wide they are."""
    count = len(model.widths)
    for level, (width, depth) in enumerate(zip(model.widths, model.depths, strict=True)):
        mirror = count - 1 - level
        for index in range(2) if depth else ():
            name = f"input_blocks.{3 * level + index + 1}.1"
            yield (name if sgm else f"down_blocks.{level}.attentions.{index}"), depth, width
        for index in range(3) if depth else ():
            name = f"output_blocks.{3 * mirror + index}.1"
            yield (name if sgm else f"up_blocks.{mirror}.attentions.{index}"), depth, width
    yield ("middle_block.1" if sgm else "mid_block.attentions.0"), model.middle, model.widths[-1]


def lora_text(layers: int, width: int) -> Iterator[Linear]:
    """The six layers of every block of a CLIP text encoder."""
    for number in range(layers):
        name = f"text_model.encoder.layers.{number}"
        for part in ("q_proj", "k_proj", "v_proj", "out_proj"):
            yield f"{name}.self_attn.{part}", width, width, 0
        yield f"{name}.mlp.fc1", width, 4 * width, 0
        yield f"{name}.mlp.fc2", 4 * width, width, 0


def lora_layers(family: str, sgm: bool = False) -> dict[str, list[Linear]]:
    """Adapted layers by part. diffusers' SD 2.x encoder has 23 of the 24 layers: the last is never used."""
    texts = PUBLISHED[family].texts
    found = {"unet": list(lora_unet(family, sgm)), "text_encoder": list(lora_text(*texts[0]))}
    if family == "sd2":
        found["text_encoder"] = list(lora_text(23, 1024))
    if family == "sdxl":
        found["text_encoder_2"] = list(lora_text(*texts[1]))
    return found
