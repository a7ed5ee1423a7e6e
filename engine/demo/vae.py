"""Trains the tiny model's autoencoder on the picture world and on random pictures beyond it.

`python -P -m engine.demo.vae FOLDER [--first N] [--steps N] [--batch N] [--start FOLDER] [--seed N] [--log FILE]` keeps
FOLDER loadable at all times, so that it may be stopped at any moment.
"""

import argparse
import math
import os
import time
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL
from diffusers.models.attention_processor import Attention
from diffusers.models.downsampling import Downsample2D
from diffusers.models.resnet import ResnetBlock2D
from diffusers.models.upsampling import Upsample2D
from torch import Tensor, nn
from torch.nn import functional as F

from engine.demo.beyond import beyond
from engine.demo.world import Picture, keyed, training_picture
from engine.tensorfiles.memory import own_module

WIDTHS = (16, 32, 40, 56)
NORM_GROUPS = 2
"""Few, because a group's mean is taken out: with 2 channels a group a flat picture's colour hardly gets through."""
FIRST, STEPS, BATCH = 1800, 2800, 8
"""Steps that train both halves; all steps; pictures a step. About 25 minutes on one thread."""
BEYOND_SHARE = 0.25
KL_WEIGHT = 1e-6
EDGE_WEIGHT = 0.5
LEARNING_RATE = 1.5e-3
"""3e-3 diverges."""
FIRST_LOGVAR = -8.0
"""Start with almost no posterior noise; the default (0) drowns the first latents."""


def new_vae(seed: int = 0) -> AutoencoderKL:
    """A freshly initialised autoencoder in SD 1.x's layout (4 levels, 8x smaller, 4 channels), 0.89 M parameters."""
    torch.manual_seed(seed)
    vae = AutoencoderKL(
        in_channels=3,
        out_channels=3,
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=WIDTHS,
        layers_per_block=2,
        latent_channels=4,
        norm_num_groups=NORM_GROUPS,
        sample_size=64,
    )
    with torch.no_grad():
        _start_as_small_pictures(vae)
        vae.decoder.conv_out.weight *= 0.5
        vae.encoder.conv_out.weight[4:] *= 0.1
        vae.encoder.conv_out.bias[4:] = FIRST_LOGVAR
    return vae


def _start_as_small_pictures(vae: AutoencoderKL) -> None:
    """Begin as an autoencoder that shrinks pictures 8x and enlarges them again, and learn the rest from there.

    Residual branches are silent. The trunk's first eight channels carry +RGB, -RGB, +1, -1: a pair of opposite signs
    passes group norm and SiLU without loss (silu(x) - silu(-x) = x), and the constant keeps the scale. From diffusers'
    own start green and red were still one colour after 1500 steps.
    """
    for module in vae.modules():
        _let_pass(module)
    for conv in (vae.encoder.conv_in, vae.decoder.conv_in):
        _split_signs(conv)
    for conv in (vae.encoder.conv_out, vae.decoder.conv_out):
        _join_signs(conv)
    for conv in (vae.quant_conv, vae.post_quant_conv):
        nn.init.dirac_(conv.weight)
        nn.init.zeros_(conv.bias)


def _let_pass(module: nn.Module) -> None:
    """Make a block of the trunk add nothing, halve or double the picture, and mix no channels."""
    if isinstance(module, ResnetBlock2D):
        nn.init.zeros_(module.conv2.weight)
        if module.conv_shortcut is not None:
            nn.init.dirac_(module.conv_shortcut.weight)
    elif isinstance(module, Attention):
        nn.init.zeros_(module.to_out[0].weight)
    elif isinstance(module, Downsample2D):
        nn.init.zeros_(module.conv.weight)
        for row, column in ((0, 0), (0, 1), (1, 0), (1, 1)):
            torch.diagonal(module.conv.weight.data[:, :, row, column]).fill_(0.25)
    elif isinstance(module, Upsample2D):
        nn.init.dirac_(module.conv.weight)


def _split_signs(conv: nn.Conv2d) -> None:
    """Make the first eight outputs +a, -a for the first three inputs a, then +1 and -1."""
    weight, bias = conv.weight.data, conv.bias
    assert bias is not None
    weight[:8] = 0
    bias.data[:8] = torch.tensor([0.0, 0, 0, 0, 0, 0, 1, -1])
    for i in range(3):
        weight[i, i, 1, 1], weight[i + 3, i, 1, 1] = 1.0, -1.0


def _join_signs(conv: nn.Conv2d) -> None:
    """Make the first three outputs the differences of the first three pairs."""
    weight, bias = conv.weight.data, conv.bias
    assert bias is not None
    weight[:3] = 0
    bias.data[:3] = 0
    for i in range(3):
        weight[i, i, 1, 1], weight[i, i + 3, 1, 1] = 1.0, -1.0


def to_tensor(pictures: list[Picture]) -> Tensor:
    """8-bit pictures (each H x W x 3) to one float tensor (B x 3 x H x W) in -1..1."""
    stacked = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2)
    return stacked.float() / 127.5 - 1


def to_pictures(images: Tensor) -> list[Picture]:
    """A float tensor (B x 3 x H x W) in -1..1 to 8-bit pictures."""
    values = ((images.detach().float() + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
    return list(values.permute(0, 2, 3, 1).cpu().numpy())


def training_batch(seed: int, step: int, batch: int) -> Tensor:
    """The pictures of one step (B x 3 x 64 x 64): three quarters of the world, one quarter beyond it."""
    pictures = []
    for slot in range(batch):
        index = step * batch + slot
        outside = keyed("vae-mix", seed, index).random() < BEYOND_SHARE
        pictures.append(beyond(seed, index) if outside else training_picture(seed, index)[0])
    return to_tensor(pictures)


def vae_loss(vae: AutoencoderKL, images: Tensor, noise: Tensor, decoder_only: bool) -> tuple[Tensor, Tensor]:
    """Reconstruction (L1 + MSE + gradient difference) with a very small KL term; also returns the plain L1."""
    with torch.set_grad_enabled(not decoder_only):
        posterior = vae.encode(images).latent_dist
        latents = posterior.mean + posterior.std * noise
    result = vae.decode(latents).sample
    l1 = F.l1_loss(result, images)
    edges = F.l1_loss(result.diff(dim=-1), images.diff(dim=-1)) + F.l1_loss(
        result.diff(dim=-2), images.diff(dim=-2)
    )
    kl = posterior.kl().mean() / latents[0].numel()
    return l1 + F.mse_loss(result, images) + EDGE_WEIGHT * edges + KL_WEIGHT * kl, l1.detach()


@torch.no_grad()
def measure_scaling(vae: AutoencoderKL, seed: int = 7, count: int = 256) -> float:
    """The factor that gives world latents a standard deviation of 1, as SD's 0.18215 does for its own."""
    images = to_tensor([training_picture(seed, index)[0] for index in range(count)])
    latents = torch.cat([vae.encode(part).latent_dist.mean for part in torch.split(images, 32)])
    return float(1 / latents.std())


def save_vae(vae: AutoencoderKL, folder: Path) -> None:
    """Write the autoencoder in fp32 with a scaling factor measured on it now."""
    vae.eval()
    vae.register_to_config(scaling_factor=round(measure_scaling(vae), 5))
    vae.save_pretrained(folder)
    vae.train()


def _learning_rate(step: int, first: int, steps: int) -> float:
    """Warm up and one cosine for both halves together; then the same from a quarter of the height for the decoder."""
    start, end, top = (0, first, 1.0) if step < first else (first, steps, 0.25)
    falling = 0.5 * (1 + math.cos(math.pi * (step - start) / (end - start)))
    return LEARNING_RATE * top * min(1.0, (step - start + 1) / 150) * (0.03 + 0.97 * falling)


def train_vae(
    folder: Path,
    first: int = FIRST,
    steps: int = STEPS,
    batch: int = BATCH,
    start: Path | None = None,
    seed: int = 0,
    log: Path | None = None,
) -> None:
    """Train both halves for `first` steps, then only the decoder until `steps`: latents are final from `first` on,
    so that a UNet can already learn them. The folder is rewritten every 250 steps and at the end."""
    vae = new_vae(seed) if start is None else own_module(AutoencoderKL.from_pretrained(start))
    vae = vae.to(memory_format=torch.channels_last)
    vae.train()
    optimizer = torch.optim.AdamW(vae.parameters(), lr=LEARNING_RATE, betas=(0.9, 0.99), weight_decay=0.0)
    started, mean_l1 = time.monotonic(), 0.25
    for step in range(steps):
        images = training_batch(seed, step, batch).contiguous(memory_format=torch.channels_last)
        generator = torch.Generator().manual_seed(seed * 1_000_003 + step)
        noise = torch.randn(batch, 4, 8, 8, generator=generator)
        loss, l1 = vae_loss(vae, images, noise, decoder_only=step >= first)
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(vae.parameters(), 1.0)
        for group in optimizer.param_groups:
            group["lr"] = _learning_rate(step, first, steps)
        optimizer.step()
        optimizer.zero_grad()
        mean_l1 += (float(l1) - mean_l1) * 0.03
        if (step + 1) % 50 == 0 and log is not None:
            speed = (step + 1) * batch / (time.monotonic() - started)
            with log.open("a", encoding="utf-8") as lines:
                lines.write(f"step {step + 1}/{steps} l1 {mean_l1:.4f} {speed:.1f} img/s\n")
        if (step + 1) % 250 == 0 or step + 1 in (first, steps):
            save_vae(vae, folder)


def main() -> None:
    """Command line: see the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--first", type=int, default=FIRST, help="steps that train the encoder too")
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--batch", type=int, default=BATCH)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--start", type=Path, help="go on from this autoencoder")
    parser.add_argument("--log", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    train_vae(
        arguments.folder,
        arguments.first,
        arguments.steps,
        arguments.batch,
        arguments.start,
        arguments.seed,
        arguments.log,
    )


if __name__ == "__main__":
    main()
