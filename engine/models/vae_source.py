"""Another VAE than the base's own, as `base.vae` names it: a diffusers folder, or one file under LDM's or diffusers'
names. Needs no torch for a folder and for a .safetensors file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.errors import UserError
from engine.models.bases import ASSETS, read_config
from engine.models.detect import detect_table
from engine.models.family_spec import VAE_PREFIX, FamilySpec
from engine.models.file_names import plain_names
from engine.models.folder_weights import check_names, json_object, part_header, weight_files
from engine.models.foreign import refuse_foreign
from engine.models.keymap_vae import new_attention
from engine.models.specs import FAMILIES
from engine.tensorfiles.header import Header, read_header, refuse_kind, sniff

_OWN = ("encoder.", "decoder.", "quant_conv.", "post_quant_conv.")
_FIX = "name a VAE of the base's family (a .safetensors file or a diffusers folder), or leave base.vae out"
_SAME = 0.02
"""Two scaling factors that differ by less than this share are one, written with fewer digits."""


@dataclass(frozen=True)
class VaeSource:
    """Where a VAE lies: a folder with its config, or a file."""

    path: Path
    folder: bool


@dataclass(frozen=True)
class VaeNames:
    """{usual name: the file's own}, in LDM's names with their prefix or in diffusers'."""

    names: Mapping[str, str]
    ldm: bool


def find_vae(text: str) -> VaeSource:
    """What `base.vae` names. UserError where nothing is there, or something that holds no VAE."""
    path = Path(text).expanduser()
    if not path.exists():
        raise UserError(f"base.vae: {path} does not exist", fix="correct the path, or leave base.vae out")
    if path.is_file():
        kind = sniff(path)
        if kind not in ("safetensors", "pickle"):
            error = refuse_kind(path, kind)
            raise UserError(f"base.vae: {error.what}", error.why, _FIX)
        return VaeSource(path, folder=False)
    for folder in (path / "vae", path):
        if (folder / "config.json").is_file() and weight_files(folder.parent, folder.name):
            return VaeSource(folder, folder=True)
    inside = sorted([*path.glob("*.safetensors"), *path.glob("*.pt"), *path.glob("*.ckpt")])
    raise UserError(
        f"base.vae: {path} is no VAE folder",
        "a diffusers folder holds config.json and diffusion_pytorch_model.safetensors",
        f"name the file itself: {inside[0]}" if inside else _FIX,
    )


def vae_names(path: Path, header: Header) -> VaeNames:
    """The VAE's tensors of a file that may hold more. UserError saying what the file is where it holds no VAE."""
    found = plain_names(path, header.tensors)
    for start in (VAE_PREFIX, "vae."):
        if any(name.startswith(f"{start}decoder.") for name in found):
            found = {name.removeprefix(start): own for name, own in found.items() if name.startswith(start)}
            break
    own = {name: value for name, value in found.items() if name.startswith(_OWN)}
    for side in ("encoder", "decoder"):
        if f"{side}.conv_in.weight" not in own:
            raise _no_vae(path, header, side, lacks_one=bool(own))
    if any(name.startswith("encoder.down_blocks.") for name in own):
        return VaeNames({new_attention(name): value for name, value in own.items()}, ldm=False)
    return VaeNames({VAE_PREFIX + name: value for name, value in own.items()}, ldm=True)


def _no_vae(path: Path, header: Header, side: str, lacks_one: bool) -> UserError:
    why = f"its {side} is missing" if lacks_one else ""
    if not why:
        try:
            refuse_foreign(path, header.tensors)
            why = "it is a model without one"
        except UserError as error:
            why = error.what
    return UserError(
        f"base.vae: {path} is no whole VAE" if lacks_one else f"base.vae: {path} is no VAE", why, _FIX
    )


def check_shape(spec: FamilySpec, path: Path, config: Mapping[str, Any]) -> None:
    """UserError where a VAE of this config makes other latents than the family's denoiser takes."""
    channels, levels = config.get("latent_channels", 4), len(config.get("block_out_channels", ()))
    if channels != spec.latent_channels:
        raise UserError(
            f"base.vae: {path} is the VAE of another kind of model",
            f"its latents have {channels} channels, and {spec.short} takes {spec.latent_channels}",
            _FIX,
        )
    if 2 ** (levels - 1) != spec.downscale:
        raise UserError(
            f"base.vae: {path} is the VAE of another kind of model",
            f"a latent of it stands for {2 ** (levels - 1)} pixels, and one of {spec.short} for {spec.downscale}",
            _FIX,
        )


def check_vae(spec: FamilySpec, text: str, scaling: float | None) -> None:
    """UserError where `base.vae` is no VAE for this family, as far as can be told without torch.

    `scaling` is the scaling factor of the base's own latents; none where it does not matter.
    """
    source = find_vae(text)
    if source.folder:
        folder, part = source.path.parent, source.path.name
        config = json_object(source.path / "config.json")
        if (header := part_header(folder, part)) is not None:
            check_names(spec, "vae", source.path, header)
        check_shape(spec, source.path, config)
        _check_scaling(source.path, config.get("scaling_factor", 0.18215), scaling)
        return
    if sniff(source.path) == "pickle":
        return
    header = read_header(source.path)
    names = vae_names(source.path, header)
    latents = header.tensors[names.names[f"{VAE_PREFIX if names.ldm else ''}decoder.conv_in.weight"]].shape
    if len(latents) == 4 and latents[1] != spec.latent_channels:
        check_shape(spec, source.path, {"latent_channels": latents[1], "block_out_channels": (0,)})
    if (family := _family_of(source.path, header)) is not None:
        own = read_config(ASSETS / "families" / family / "vae.json").get("scaling_factor")
        _check_scaling(source.path, own, scaling)


def _family_of(path: Path, header: Header) -> str | None:
    """Whose VAE a file is, where its metadata or a model around it says so."""
    said = header.metadata.get("modelspec.architecture", "")
    for name, spec in FAMILIES.items():
        if any(said == arch or said.startswith(f"{arch}/") for arch in spec.architectures.values()):
            return name
    try:
        return detect_table(path, header).family
    except UserError:
        return None


def _check_scaling(path: Path, own: object, base: float | None) -> None:
    if not isinstance(own, int | float) or base is None or abs(own - base) <= _SAME * base:
        return
    raise UserError(
        f"base.vae: {path} is another family's VAE",
        f"its latents are scaled by {own:g}, and the base's own by {base:g}: it would be trained on strange latents",
        _FIX,
    )
