"""A LoRA artifact taken apart into its pairs, each with the strength that it was trained with."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import torch

from engine.errors import UserError
from engine.methods.artifact import Artifact

DOWN, UP = ".lora_A.weight", ".lora_B.weight"
MAGNITUDES = (".lora_magnitude_vector.weight", ".lora_magnitude_vector")
ATTENTION = ("q_proj", "k_proj", "v_proj", "out_proj")
TEXT = "text_encoder"
"""What every text encoder's name begins with."""


@dataclass(frozen=True)
class Pair:
    """One adapted module: down [r, in, ...], up [out, r, ...]; `scale` is what up x down is multiplied with."""

    part: str
    module: str
    down: torch.Tensor
    up: torch.Tensor
    magnitude: torch.Tensor | None
    scale: float

    @property
    def rank(self) -> int:
        return self.down.shape[0]


def pairs_of(artifact: Artifact) -> list[Pair]:
    """Every adapted module in the artifact's order. UserError when there is none or a value is not finite."""
    pairs = list(_pairs(artifact))
    if not pairs:
        raise UserError(
            "there is no LoRA to export",
            why="the checkpoint holds no adapted layers",
            fix="train first, then export",
        )
    for pair in pairs:
        for tensor in (pair.down, pair.up, pair.magnitude):
            if tensor is not None and not torch.isfinite(tensor).all():
                raise UserError(
                    f"the LoRA holds values that are not finite, in {pair.part}.{pair.module}",
                    why="such a file spoils every picture made with it",
                    fix="export an earlier checkpoint",
                )
    return pairs


def complete_attention(pairs: list[Pair]) -> list[Pair]:
    """Adds pairs of zeros so that a text layer has all of q, k, v and out, or none.

    With some of them only, AUTOMATIC1111 drops the layer's attention (open_clip) and diffusers refuses a
    kohya file.
    """
    known = {(pair.part, pair.module) for pair in pairs}
    added: dict[tuple[str, str], Pair] = {}
    for pair in pairs:
        stem, _, last = pair.module.rpartition(".")
        if not pair.part.startswith(TEXT) or last not in ATTENTION:
            continue
        for sibling in ATTENTION:
            place = (pair.part, f"{stem}.{sibling}")
            if place not in known and place not in added:
                down, up = torch.zeros_like(pair.down), torch.zeros_like(pair.up)
                added[place] = Pair(*place, down, up, None, pair.scale)
    return [*pairs, *added.values()]


def some_attention(pairs: list[Pair]) -> list[Pair]:
    """Adds one pair of zeros to a text encoder that is adapted in its MLPs only.

    diffusers tells peft's text encoder names by an attention layer, and refuses a file that has none.
    """
    added: list[Pair] = []
    for part in dict.fromkeys(pair.part for pair in pairs if pair.part.startswith(TEXT)):
        of_part = [pair for pair in pairs if pair.part == part]
        if any(pair.module.endswith(ATTENTION) for pair in of_part):
            continue
        first = next((pair for pair in of_part if pair.module.endswith(".mlp.fc1")), None)
        lone = first or next((pair for pair in of_part if pair.module.endswith(".mlp.fc2")), None)
        if lone is None:
            continue
        width = lone.down.shape[1] if first is not None else lone.up.shape[0]
        module = lone.module.rsplit(".mlp.", 1)[0] + ".self_attn.out_proj"
        down, up = lone.down.new_zeros(lone.rank, width), lone.up.new_zeros(width, lone.rank)
        added.append(Pair(part, module, down, up, None, lone.scale))
    return [*pairs, *added]


def of_one_rank(pairs: list[Pair]) -> list[Pair]:
    """The same changes, all as wide as the widest pair: the others get zeros.

    diffusers 0.32 reads one rank and one alpha a part, and gives modules of other ranks another strength.
    """
    rank = max(pair.rank for pair in pairs)
    return [pair if pair.rank == rank else _widened(pair, rank) for pair in pairs]


def _widened(pair: Pair, rank: int) -> Pair:
    down = pair.down.new_zeros(rank, *pair.down.shape[1:])
    up = pair.up.new_zeros(pair.up.shape[0], rank, *pair.up.shape[2:])
    down[: pair.rank], up[:, : pair.rank] = pair.down, pair.up
    return replace(pair, down=down, up=up)


def is_dora(artifact: Artifact) -> bool:
    """Does the artifact hold DoRA magnitudes?"""
    return bool(artifact.facts.get("dora")) or any(name.endswith(MAGNITUDES) for name in artifact.tensors)


def _pairs(artifact: Artifact) -> Iterator[Pair]:
    tensors = artifact.tensors
    alphas, default = _table(artifact.facts.get("alphas")), artifact.facts.get("alpha")
    rslora = bool(artifact.facts.get("rslora"))
    used = 0
    for name, down in tensors.items():
        if not name.endswith(DOWN):
            continue
        path = name.removesuffix(DOWN)
        part, module = path.split(".", 1)
        up = tensors[path + UP]
        magnitude = next((tensors[path + end] for end in MAGNITUDES if path + end in tensors), None)
        alpha = alphas.get(path, default)
        assert isinstance(alpha, (int, float)), path
        assert down.shape[0] == up.shape[1], path
        rank = down.shape[0]
        scale = alpha / math.sqrt(rank) if rslora else alpha / rank
        used += 2 + (magnitude is not None)
        yield Pair(part, module, down, up, magnitude, float(scale))
    assert used == len(tensors), "a LoRA artifact holds pairs and magnitudes only"


def _table(value: object) -> Mapping[str, object]:
    return value if isinstance(value, Mapping) else {}
