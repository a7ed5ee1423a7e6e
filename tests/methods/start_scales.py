"""How large the output of every fresh module is before the first step, beside the reference implementation's start.

`python -m tests.methods.start_scales` prints the table of docs/learning.md.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from types import SimpleNamespace
from typing import Any

import torch
from diffusers import ControlNetModel, T2IAdapter, UNet2DConditionModel
from peft import LoHaConfig, LoKrConfig, LoraConfig, inject_adapter_in_model
from torch import Tensor, nn

from engine.families.base import AttentionLayer
from engine.families.sd1 import StableDiffusion1
from engine.families.sdxl import StableDiffusionXL
from engine.methods.controlnet import Controlnet
from engine.methods.hypernetwork import Hypernetwork
from engine.methods.lora import Lora
from engine.methods.placeholder_tokens import first_rows, median_norm
from engine.methods.t2i_adapter import T2iAdapter
from engine.models.published import published
from engine.models.widths import widths_of, with_widths
from engine.plan.methods.controlnet import ControlnetOptions
from engine.plan.methods.hypernetwork import HypernetworkOptions
from engine.plan.methods.lora import LoraOptions
from engine.plan.methods.t2i_adapter import T2iAdapterOptions

SEED = 42


@dataclass(frozen=True)
class Scale:
    """Standard deviations of one output: ours and the reference's."""

    module: str
    output: str
    ours: float
    reference: float


def all_scales(size: str = "base") -> Iterator[Scale]:
    """Every module; `size` is that of the denoiser from scratch (base is SD 1.x's own)."""
    yield from adapters(512)
    yield from controlnet(512)
    for measure in (hypernetwork, lora, words):
        yield from measure()
    yield from scratch(size)


def maps(side: int) -> dict[str, Tensor]:
    """Condition pictures [1, 3, side, side] in [0, 1]: sparse white outlines, and a depth ramp."""
    edges = torch.zeros(1, 3, side, side)
    for at in range(side // 8, side, side // 4):
        edges[..., at, :] = 1
        edges[..., :, at] = 1
    ramp = torch.linspace(0, 1, side).expand(1, 3, side, side)
    return {"outlines": edges, "depth": ramp.contiguous()}


@torch.no_grad()
def adapters(side: int) -> Iterator[Scale]:
    """T2I-Adapters: the last feature; SDXL's takes pictures of twice the side."""
    for kind, family_of, name in (
        ("full_adapter", StableDiffusion1, "sd1"),
        ("light_adapter", StableDiffusion1, "sd1"),
        ("full_adapter_xl", StableDiffusionXL, "sdxl"),
    ):
        schedule: Any = None
        family = family_of({}, {}, schedule, {"unet": published(name, "unet")})
        ours = T2iAdapter(T2iAdapterOptions.model_validate({"kind": kind}), SEED).build(family)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(SEED)
            theirs: Any = T2IAdapter.from_config(dict(_config(ours)))
        for picture, pixels in maps(2 * side if name == "sdxl" else side).items():
            yield Scale(
                f"T2I-Adapter, {kind}",
                f"last feature, {picture}",
                _std(ours(pixels)[-1]),
                _std(theirs(pixels)[-1]),
            )


@torch.no_grad()
def controlnet(side: int) -> Iterator[Scale]:
    """ControlNet's embedding at its own widths before a single level of SD 1.x's width: what is fresh, and no more."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        theirs = _one_level()
    family: Any = SimpleNamespace(new_controlnet=lambda channels: _one_level())
    ours = Controlnet(ControlnetOptions(), SEED).build(family)
    for picture, pixels in maps(side).items():
        whole = [_residual(net, pixels) for net in (ours, theirs)]
        yield Scale("ControlNet", f"all that reaches the denoiser, {picture}", *whole)
        inner = [_embedded(net, pixels) for net in (ours, theirs)]
        yield Scale("ControlNet", f"between places before its zero convolution, {picture}", *inner)


def _one_level() -> Any:
    return ControlNetModel(
        down_block_types=("DownBlock2D",), only_cross_attention=False, block_out_channels=(320,),
        layers_per_block=1, cross_attention_dim=64, mid_block_type="UNetMidBlock2D",
    )  # fmt: skip


def _residual(net: Any, pixels: Tensor) -> float:
    side = pixels.shape[-1] // 8
    down, middle = net(
        torch.randn(1, 4, side, side), torch.tensor([500]), torch.zeros(1, 77, 64), pixels, return_dict=False
    )
    return max(float(value.abs().max()) for value in (*down, middle))


def _embedded(net: Any, pixels: Tensor) -> float:
    embedding = net.controlnet_cond_embedding
    value = nn.functional.silu(embedding.conv_in(pixels))
    for block in embedding.blocks:
        value = nn.functional.silu(block(value))
    return _std(value - value.mean(dim=(2, 3), keepdim=True))


@torch.no_grad()
def hypernetwork() -> Iterator[Scale]:
    """What a hypernetwork adds to keys and values; the reference is AUTOMATIC1111's law, written here."""
    for law, fill in _LAWS.items():
        for width in (320, 2048):
            options = HypernetworkOptions.model_validate({"initialization": law, "activation": "relu"})
            method = Hypernetwork(options, SEED)
            attention = nn.Module()
            attention.to_k, attention.to_v = nn.Linear(width, 8), nn.Linear(width, 8)
            layers = [AttentionLayer("attn2", attention, True, width)]
            family: Any = SimpleNamespace(attention_layers=partial(list, layers))
            method.prepare(family)
            pairs: Any = method.pairs
            torch.manual_seed(SEED)
            theirs = nn.Sequential(nn.Linear(width, 2 * width), nn.ReLU(), nn.Linear(2 * width, width))
            for layer in theirs:
                if isinstance(layer, nn.Linear):
                    fill(layer.weight)
                    layer.bias.zero_()
            x = torch.randn(1, 77, width)
            added = _std(pairs[str(width)]["k"](x) - x)
            yield Scale(f"hypernetwork, {law}", f"added at width {width}", added, _std(theirs(x)))


_LAWS: dict[str, Callable[[Tensor], object]] = {
    "Normal": lambda weight: nn.init.normal_(weight, mean=0.0, std=0.01),
    "XavierUniform": nn.init.xavier_uniform_,
    "XavierNormal": nn.init.xavier_normal_,
    "KaimingUniform": lambda weight: nn.init.kaiming_uniform_(weight, nonlinearity="relu"),
    "KaimingNormal": lambda weight: nn.init.kaiming_normal_(weight, nonlinearity="relu"),
}

KINDS: dict[str, dict[str, object]] = {
    "LoRA": {}, "rsLoRA": {"rslora": True}, "DoRA": {"dora": True}, "LoHa": {"kind": "loha"},
    "LoKr": {"kind": "lokr"},
}  # fmt: skip


@torch.no_grad()
def lora() -> Iterator[Scale]:
    """peft's adapters on layers of SDXL's sizes: what they add, and the factors that are not zero."""
    for name, options in KINDS.items():
        ours, theirs = _layers(), _layers()
        spec = SimpleNamespace(denoiser="unet", text_parts=(), name="sdxl")
        family: Any = SimpleNamespace(
            parts={"unet": ours}, spec=spec, lora_targets=lambda part, role: list(_layers_of()),
        )  # fmt: skip
        Lora(LoraOptions.model_validate(options), 1e-4, SEED).prepare(family)
        torch.manual_seed(SEED)
        inject_adapter_in_model(_peft(options), theirs)
        yield Scale(name, "added to the layer", _added(ours), _added(theirs))
        yield Scale(name, "factors that do not start from zero", _factors(ours), _factors(theirs))


def _layers_of() -> dict[str, nn.Module]:
    return {
        "query": nn.Linear(640, 640), "key": nn.Linear(2048, 640), "feed": nn.Linear(640, 5120),
        "conv": nn.Conv2d(320, 640, 3, padding=1),
    }  # fmt: skip


def _layers() -> nn.Module:
    torch.manual_seed(SEED)
    return nn.ModuleDict(_layers_of())


def _peft(options: dict[str, object]) -> Any:
    targets, kind = list(_layers_of()), options.get("kind")
    if kind == "loha":
        return LoHaConfig(r=16, alpha=16, target_modules=targets)
    if kind == "lokr":
        return LoKrConfig(r=16, alpha=16, target_modules=targets)
    flags = {f"use_{key}": value for key, value in options.items()}
    return LoraConfig(r=16, lora_alpha=16, target_modules=targets, **flags)


def _added(layers: Any) -> float:
    torch.manual_seed(SEED)
    largest = 0.0
    for name, plain in _layers_of().items():
        given = (
            torch.randn(1, 77, plain.in_features)
            if isinstance(plain, nn.Linear)
            else torch.randn(1, 320, 16, 16)
        )
        adapted = layers[name]
        largest = max(largest, float((adapted(given) - adapted.base_layer(given)).abs().max()))
    # DoRA divides by the norm it has just measured: rounding is not an output.
    return 0.0 if largest < 1e-5 else largest


def _factors(layers: nn.Module) -> float:
    found = [
        value.flatten()
        for key, value in layers.named_parameters()
        if any(mark in key for mark in ("lora_A", "lora_B", "hada_", "lokr_")) and bool(value.any())
    ]
    return _std(torch.cat(found))


@torch.no_grad()
def words() -> Iterator[Scale]:
    """Textual inversion: the length of a new word's vectors, beside the median of CLIP-L's vocabulary."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        table = nn.Embedding(49408, 768).weight.mul_(0.02)
    norm = median_norm(table)
    draw = torch.Generator().manual_seed(SEED)
    for name, known in (("no initial word", []), ("an initial word", [320, 1929])):
        rows = first_rows(table, known, 4, norm, draw)
        yield Scale(
            "textual inversion", f"length of a vector, {name}", float(rows.norm(dim=-1).median()), norm
        )


@torch.no_grad()
def scratch(size: str) -> Iterator[Scale]:
    """The denoiser from scratch: its first prediction for pure noise."""
    usual = published("sd1", "unet")
    widths = widths_of(usual, size)
    schedule: Any = None
    family = StableDiffusion1({}, {}, schedule, {"unet": usual})
    family.renew_denoiser(widths, SEED)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        theirs: Any = UNet2DConditionModel.from_config(with_widths(usual, widths)).eval()
        given = torch.randn(1, 4, 32, 32), torch.tensor([500]), torch.randn(1, 77, 768)
    answers = [_std(net(*given, return_dict=False)[0]) for net in (family.denoiser, theirs)]
    yield Scale(f"from scratch, {size}", "prediction", *answers)


def _config(net: Any) -> dict[str, Any]:
    return dict(net.config)


def _std(value: Tensor) -> float:
    return float(value.float().std())


def table(rows: Sequence[Scale]) -> str:
    """The table of docs/learning.md."""
    lines = ["| module | output | reference | ours |", "|---|---|---|---|"]
    lines += [f"| {row.module} | {row.output} | {row.reference:.2g} | {row.ours:.2g} |" for row in rows]
    return "\n".join(lines)


if __name__ == "__main__":
    print(table(list(all_scales())))
