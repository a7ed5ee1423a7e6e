"""LoRA as kohya's sd-scripts names it: what ComfyUI, AUTOMATIC1111, kohya and diffusers all read."""

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Protocol

import torch

from engine.dataset.captions import MAX_TOKENS
from engine.errors import UserError
from engine.export.base import (
    TRAINED,
    About,
    Composed,
    ExportRequest,
    Format,
    ModelFacts,
    SetFacts,
    common_metadata,
)
from engine.export.lora import Pair, complete_attention, is_dora, of_one_rank, pairs_of
from engine.export.lycoris import changes_of, kind_of, network_facts
from engine.tensorfiles.safetensors_file import serialise


class ModulePath(Protocol):
    """A module by its part and its diffusers path."""

    @property
    def part(self) -> str: ...

    @property
    def module(self) -> str: ...


def compose(request: ExportRequest) -> Composed:
    """Three tensors a module (lora_down, lora_up, alpha), so that alpha / r is the trained strength.

    rsLoRA's alpha / sqrt(r) is folded into alpha, and all pairs get the rank of the widest.
    LoHa and LoKr have LyCORIS' tensors instead of the pair.
    UserError for DoRA, which the layout has no exact place for.
    """
    if kind_of(request.artifact) != "lora":
        return _lycoris(request)
    if is_dora(request.artifact):
        raise UserError(
            "a DoRA cannot be exported in the kohya layout",
            why="its magnitudes are per output; ComfyUI and AUTOMATIC1111 read dora_scale differently and would"
            " draw something else",
            fix="export it with --format diffusers, or train with lora.dora = false",
        )
    pairs = of_one_rank(complete_attention(pairs_of(request.artifact)))
    modules = module_names(pairs, request.model)
    alphas = _alphas(pairs)
    tensors: dict[str, torch.Tensor] = {}
    for pair, name in zip(pairs, modules, strict=True):
        # diffusers reads one alpha a part and misplaces others: what differs goes into the up matrix,
        # exactly.
        alpha = alphas[pair.part]
        ratio = pair.scale * pair.rank / alpha
        tensors[f"{name}.lora_down.weight"] = pair.down
        tensors[f"{name}.lora_up.weight"] = pair.up if ratio == 1.0 else pair.up * ratio
        tensors[f"{name}.alpha"] = torch.tensor(alpha, dtype=torch.float32)
    if len(tensors) != 3 * len(pairs):
        raise UserError(
            "two modules of this LoRA have one name in the kohya layout", fix="export as diffusers"
        )
    return _with_notes(request, tensors, _network(pairs, alphas, request.model.spec.denoiser))


def _lycoris(request: ExportRequest) -> Composed:
    changes = changes_of(request.artifact)
    names = module_names(changes, request.model)
    tensors = {
        f"{name}.{kind}": value
        for name, change in zip(names, changes, strict=True)
        for kind, value in change.tensors.items()
    }
    assert len(tensors) == sum(len(change.tensors) for change in changes), "two modules of one name"
    return _with_notes(request, tensors, network_facts(request.artifact))


def _with_notes(
    request: ExportRequest, tensors: dict[str, torch.Tensor], network: Mapping[str, str]
) -> Composed:
    notes = {**common_metadata(request), **_training(request), **network}
    return Composed(tensors, {**notes, **_hashes(tensors, notes, request.dtype)})


def module_names(pairs: Sequence[ModulePath], model: ModelFacts) -> list[str]:
    """kohya's names: module paths with underscores, which are diffusers' or, for some families, the original code's."""
    spec = model.spec
    prefixes = {spec.denoiser: spec.kohya_denoiser, **{part.name: part.kohya for part in spec.text}}
    own = spec.kohya_paths(model.configs[spec.denoiser]) if spec.kohya_paths else None
    names = []
    for pair in pairs:
        path = own.get(pair.module) if own is not None and pair.part == spec.denoiser else pair.module
        if path is None or pair.part not in prefixes:
            raise UserError(
                f"{pair.part}.{pair.module} has no name in the kohya layout for {model.family}",
                fix="export as diffusers, or choose other target layers",
            )
        names.append(f"{prefixes[pair.part]}_{path}".replace(".", "_"))
    return names


def _alphas(pairs: list[Pair]) -> dict[str, float]:
    """The alpha that most modules of each part have, with rsLoRA folded in."""
    counts: dict[str, Counter[float]] = {}
    for pair in pairs:
        counts.setdefault(pair.part, Counter())[pair.scale * pair.rank] += 1
    return {part: counter.most_common(1)[0][0] for part, counter in counts.items()}


def _training(request: ExportRequest) -> dict[str, str]:
    """kohya's ss_* entries: those that A1111 files a LoRA by, and what its card shows of the training."""
    about, model = request.about, request.model
    return {
        "ss_training_started_at": str(about.started or about.created),
        "ss_training_finished_at": str(about.created),
        **(_captions(about) if about.captions else {}),
        "ss_v2": str(model.spec.kohya_v2),
        "ss_base_model_version": model.spec.kohya_bases[model.prediction],
        "ss_output_name": request.out.stem,
        "ss_resolution": str(tuple(about.resolution)),
        "ss_num_train_images": str(about.images),
        "ss_steps": str(request.step),
        "ss_seed": str(about.seed),
        # None as kohya's scripts write it, for what they leave at CLIP's last layer and 75 tokens.
        "ss_clip_skip": str(about.clip_skip) if about.clip_skip > 1 else "None",
        "ss_max_token_length": str(about.max_tokens) if about.max_tokens > MAX_TOKENS else "None",
        "ss_zero_terminal_snr": str(model.zero_terminal_snr),
        "ss_sd_model_name": about.base_model,
        **({"ss_new_sd_model_hash": about.base_hash} if about.base_hash else {}),
        "ss_bucket_info": json.dumps(_buckets(about)),
    }


def _captions(about: About) -> dict[str, str]:
    """Tags by folder, and how many pictures the folder has; the trigger counts where there are no captions."""
    sets = about.sets or (SetFacts(about.name, images=about.images),)
    words = dict.fromkeys(about.trigger_words, about.images or 1)
    tags = {one.name or about.name: dict(one.tags) or words for one in sets}
    pictures = {one.name or about.name: {"n_repeats": one.repeats, "img_count": one.images} for one in sets}
    return {
        "ss_tag_frequency": json.dumps(tags, ensure_ascii=False),
        "ss_dataset_dirs": json.dumps(pictures, ensure_ascii=False),
        "ss_training_comment": ", ".join(about.trigger_words),
    }


def _buckets(about: About) -> dict[str, object]:
    """How many pictures were trained at which width and height, as A1111's card and kohya's tools read it."""
    sizes = about.buckets or {about.resolution: about.images}
    rows = [{"resolution": list(size), "count": count} for size, count in sorted(sizes.items())]
    return {"buckets": {str(at): row for at, row in enumerate(rows)}}


def _network(pairs: list[Pair], alphas: Mapping[str, float], denoiser: str) -> dict[str, str]:
    """The minimum that kohya itself reads: the network's kind and size."""
    dim = str(pairs[0].rank)
    alpha = alphas.get(denoiser, next(iter(alphas.values())))
    convolves = any(pair.down.dim() == 4 and pair.down.shape[-1] > 1 for pair in pairs)
    arguments = {"conv_dim": dim, "conv_alpha": str(alpha)} if convolves else {}
    return {
        "ss_network_module": "networks.lora",
        "ss_network_dim": dim,
        "ss_network_alpha": str(alpha),
        "ss_network_args": json.dumps(arguments),
    }


def _hashes(
    tensors: Mapping[str, torch.Tensor], notes: Mapping[str, str], dtype: torch.dtype | None
) -> dict[str, str]:
    """The two hashes by which A1111 and kohya know a LoRA whatever its other metadata says.

    sshs_model_hash is sha256 of the bytes behind the header; sshs_legacy_hash the first 8 digits of sha256 of
    the 64 KiB at 1 MiB in a file with the ss_* entries only.
    """
    chunks = serialise(tensors, {key: text for key, text in notes.items() if key.startswith("ss_")}, dtype)
    model, legacy = hashlib.sha256(), hashlib.sha256()
    offset, first, start, end = 0, True, 0x100000, 0x110000
    for chunk in chunks:
        if not first:
            model.update(chunk)
        legacy.update(chunk[max(0, start - offset) : max(0, end - offset)])
        offset, first = offset + len(chunk), False
    return {
        "sshs_model_hash": model.hexdigest(),
        "sshs_legacy_hash": legacy.hexdigest()[:8],
        "modelspec.hash_sha256": f"0x{model.hexdigest()}",
    }


def _not_in(request: ExportRequest) -> frozenset[str]:
    # sd-scripts makes no module of LyCORIS' names and says nothing; diffusers raises ValueError.
    return frozenset() if kind_of(request.artifact) == "lora" else frozenset({"kohya", "diffusers"})


FORMAT = Format(
    name="kohya",
    title="kohya LoRA",
    extension=".safetensors",
    kind="lora",
    families=TRAINED,
    opens_in=("ComfyUI", "AUTOMATIC1111", "kohya", "diffusers"),
    compose=compose,
    not_in=_not_in,
)
