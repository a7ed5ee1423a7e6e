"""Works out a VAE's config from the shapes of its tensors, under LDM's names or diffusers'."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from engine.models import keymap_vae
from engine.models.published import Config, Shapes, groups, odd, shape_of


@dataclass(frozen=True)
class VaeNames:
    """How the encoder's blocks are named behind `prefix`."""

    prefix: str
    block: str
    """A resnet's second convolution, by {level} and {layer}."""
    attention: str
    """The start of the middle's attention."""


LDM = VaeNames(keymap_vae.PREFIX, "encoder.down.{level}.block.{layer}.conv2.weight", "encoder.mid.attn_1.")
DIFFUSERS = VaeNames(
    "", "encoder.down_blocks.{level}.resnets.{layer}.conv2.weight", "encoder.mid_block.attentions."
)


def infer_vae(path: Path, shapes: Shapes, usual: Mapping[str, object], names: VaeNames = LDM) -> Config:
    """The `usual` config, with what the shapes say in place of its own."""
    prefix = names.prefix
    config: Config = dict(usual)
    widths: list[int] = []
    layers = 0
    while (shape := shapes.get(prefix + names.block.format(level=len(widths), layer=0))) is not None:
        widths.append(shape[0])
    while prefix + names.block.format(level=0, layer=layers) in shapes:
        layers += 1
    if not widths:
        raise odd(path, "VAE", "it has no encoder")
    same = list(config["block_out_channels"]) == widths
    config["block_out_channels"], config["layers_per_block"] = widths, layers
    config["down_block_types"] = ["DownEncoderBlock2D"] * len(widths)
    config["up_block_types"] = ["UpDecoderBlock2D"] * len(widths)
    config["latent_channels"] = shape_of(path, shapes, f"{prefix}decoder.conv_in.weight")[1]
    config["in_channels"] = shape_of(path, shapes, f"{prefix}encoder.conv_in.weight")[1]
    config["out_channels"] = shape_of(path, shapes, f"{prefix}decoder.conv_out.weight")[0]
    if not any(name.startswith(prefix + names.attention) for name in shapes):
        config["mid_block_add_attention"] = False
    if not same:
        config["norm_num_groups"] = groups(config["norm_num_groups"], widths)
    return config
