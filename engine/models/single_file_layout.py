"""A whole model in one file, by the names and shapes of its tensors: where each part lies, and whether all is there."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.errors import UserError
from engine.models import keymap_vae
from engine.models.detect import detect_table, read_table
from engine.models.detected import Detected
from engine.models.family_spec import TextPart
from engine.models.file_names import renamed, single_file_names
from engine.models.keymap import KeyMap, Slot
from engine.models.keymap_text import text_map
from engine.models.markers import ZERO_SNR
from engine.models.published import Config
from engine.models.single_file_config import infer_configs, layouts
from engine.models.specs import FAMILIES, file_layout
from engine.tensorfiles.header import Header


@dataclass(frozen=True)
class SingleFileLayout:
    """What a file holds. `names` are the file's own by the usual ones, `maps` the parts' places by diffusers' names,
    and `ignored` what no part has."""

    found: Detected
    names: Mapping[str, str]
    configs: dict[str, Config]
    maps: Mapping[str, KeyMap]
    ignored: tuple[str, ...]


def inspect(path: Path) -> Detected:
    """What the file is. UserError also where tensors of a part are missing or fit nothing."""
    return lay_out(path, read_table(path)).found


def lay_out(path: Path, header: Header) -> SingleFileLayout:
    """The same of a file whose names and shapes have been read, with the place of every tensor."""
    found = detect_table(path, header)
    names = single_file_names(path, header.tensors)
    tensors = renamed(header, names).tensors
    shapes = {name: info.shape for name, info in tensors.items()}
    configs = infer_configs(path, found.family, shapes, header.metadata)
    configs["scheduler"]["prediction_type"] = found.prediction
    if ZERO_SNR in tensors:
        configs["scheduler"] |= {"rescale_betas_zero_snr": True, "timestep_spacing": "trailing"}
    maps = key_maps(found.family, configs, layouts(FAMILIES[found.family], shapes))
    used = {slot.key for slots in maps.values() for slot in slots.values()}
    _check_complete(path, maps, shapes)
    ignored = tuple(sorted(name for name in tensors if name not in used))
    _refuse_left_over(path, found.family, configs, ignored)
    _refuse_strange(path, found.family, ignored)
    return SingleFileLayout(found, names, configs, maps, ignored)


def _refuse_strange(path: Path, family: str, ignored: Sequence[str]) -> None:
    """Tensors of the denoiser that the family's has not."""
    spec = FAMILIES[family]
    start, title = spec.file_prefixes()[spec.denoiser], spec.denoiser_title
    strange = [name for name in ignored if name.startswith(start)]
    if strange:
        raise UserError(
            f"{path} has {len(strange)} {title} tensors that no {family} {title} has",
            why=f"for example {strange[0]}: it is a variant that sdtrain does not know",
            fix="use the plain model of the family",
        )


def _refuse_left_over(path: Path, family: str, configs: Mapping[str, Config], ignored: Sequence[str]) -> None:
    """Layers of a text encoder or of the VAE that nothing would read: something before them is missing."""
    for part, start in FAMILIES[family].file_prefixes().items():
        layers = int(configs.get(part, {}).get("num_hidden_layers", 0))
        for name in ignored:
            if not name.startswith(start):
                continue
            number = _LAYER.search(name)
            block = part == "vae" and name.removeprefix(start).startswith(("encoder.", "decoder."))
            unused = max(
                (text.unused_layers for text in FAMILIES[family].text if text.name == part), default=0
            )
            if block or (part.startswith("text") and number and int(number[1]) >= layers + unused):
                raise UserError(
                    f"{path} is not a whole model: its {part} has tensors that fit nothing",
                    why=f"for example {name}: what belongs before it is missing, or it is another kind of {part}",
                    fix="download or export the file again",
                )


_LAYER = re.compile(r"\.(?:layers|resblocks)\.(\d+)\.")


def key_maps(
    family: str, configs: Mapping[str, Mapping[str, Any]], texts: Sequence[TextPart] = ()
) -> dict[str, KeyMap]:
    """{part: {diffusers name: place in a single file}} of a family's model with these configs.

    `texts` are the text encoders as the file names them, where that is not the family's usual way (see `layouts`).
    A part without a config is left out.
    """
    spec = FAMILIES[family]
    denoiser = file_layout(family).denoiser_map(configs[spec.denoiser])
    maps: dict[str, KeyMap] = {
        spec.denoiser: {name: Slot(key) for name, key in denoiser.items()},
    }
    if "vae" in configs:
        maps["vae"] = keymap_vae.vae_map(configs["vae"])
    for part in texts or spec.text:
        maps[part.name] = text_map(part, configs[part.name])
    return maps


def _check_complete(path: Path, maps: Mapping[str, KeyMap], shapes: Mapping[str, tuple[int, ...]]) -> None:
    for part, slots in maps.items():
        missing = [slot.key for slot in slots.values() if slot.key not in shapes]
        if missing:
            raise UserError(
                f"{path} is not a whole model: {len(missing)} tensors of the {part} are missing",
                why=f"for example {missing[0]}",
                fix="download or export the file again",
            )
