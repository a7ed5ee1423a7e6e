"""Finds out what a base model is - family, prediction type, parts - from names and shapes, without torch."""

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path

from engine.errors import UserError
from engine.models.detect_folder import detect_folder
from engine.models.detected import SUPPORTED, Detected, main_dtype, variant_of
from engine.models.family_spec import FamilySpec, SingleFileMarks
from engine.models.file_names import renamed, single_file_names
from engine.models.foreign import refuse_foreign
from engine.models.prediction import EPSILON, Settled, claims_of, settle, yaml_claims
from engine.models.specs import FAMILIES
from engine.tensorfiles.header import Header, TensorInfo, read_header, refuse_kind, sniff


def detect(path: Path | str) -> Detected:
    """Looks at a diffusers folder, a .safetensors file or a .ckpt (the last one needs torch, which is then
    loaded).

    Raises UserError naming what the thing is when it cannot be a base: another architecture, a refiner, a
    LoRA, an embedding, a lone VAE, a ControlNet, a broken or cut file, a folder with parts missing.
    """
    path = Path(path).expanduser()
    if not path.exists():
        raise UserError(
            f"{path} does not exist", fix="give a diffusers folder or a .safetensors or .ckpt file"
        )
    if path.is_dir():
        return detect_folder(path)
    return detect_table(path, read_table(path))


def read_table(path: Path) -> Header:
    """Names, dtypes and shapes of a weights file, whichever of the two kinds it is."""
    kind = sniff(path)
    if kind == "safetensors":
        return read_header(path)
    if kind == "pickle":
        # By name: torch is loaded for a pickle only, and this module stays free of it.
        header: Header = import_module("engine.tensorfiles.pickles").read_table(path)
        return header
    raise refuse_kind(path, kind)


def detect_table(path: Path, header: Header) -> Detected:
    """The same for a single file whose names and shapes have been read."""
    names = single_file_names(path, header.tensors)
    header = renamed(header, names)
    tensors = header.tensors
    refuse_foreign(path, tensors)
    spec, marks, reasons = _family(path, tensors)
    entry = tensors.get(marks.first)
    channels = entry.shape[1] if entry is not None and len(entry.shape) == 4 else 0
    variant = variant_of(path, spec, channels, reasons)
    parts = _parts(path, spec, tensors)
    settled = _prediction(path, marks, header, names, reasons)
    dtype = main_dtype(info for name, info in tensors.items() if name.startswith(marks.denoiser))
    return Detected(
        path,
        "single_file",
        spec.name,
        settled.prediction,
        variant,
        dtype,
        parts,
        tuple(reasons),
        settled.doubt,
    )


def _family(path: Path, tensors: Mapping[str, TensorInfo]) -> tuple[FamilySpec, SingleFileMarks, list[str]]:
    """By the denoiser's shapes; the text encoders' names are asked only where these tell nothing."""
    if any(name.startswith("conditioner.embedders.0.model.") for name in tensors) and not any(
        name.startswith("conditioner.embedders.1.") for name in tensors
    ):
        raise UserError(
            f"{path} is the SDXL refiner",
            why="it has open_clip as its only text encoder (conditioner.embedders.0.model)",
            fix="give the SDXL base model: a refiner is not trained as a base",
        )
    shapes = {name: info.shape for name, info in tensors.items()}
    named = None
    # The newest family first: its files may also hold what marks an older one's.
    for spec in reversed(FAMILIES.values()):
        if (marks := spec.file) is None:
            continue
        found = next((name for name in tensors if name.startswith(marks.family)), None)
        config, witness = marks.sketch(shapes)
        if config and (reason := spec.recognise(config)):
            return spec, marks, [f"{reason}, by {witness}"]
        if not config and found and named is None:
            named = spec, marks, [f"{spec.short}: its text encoder is named {found.split('.layers')[0]}"]
    if named is not None:
        return named
    raise _no_text(path)


def _no_text(path: Path) -> UserError:
    return UserError(
        f"{path} has no text encoder",
        why="the file holds a UNet, but none of cond_stage_model. and conditioner.embedders.",
        fix="give a whole checkpoint (UNet, VAE and text encoder in one file) or a diffusers folder",
    )


def _parts(path: Path, spec: FamilySpec, tensors: Mapping[str, TensorInfo]) -> tuple[str, ...]:
    """The parts that the file has. UserError where one is missing, but for the VAE: base.vae may give that."""
    prefixes = spec.file_prefixes()
    missing = [
        part for part, prefix in prefixes.items() if not any(name.startswith(prefix) for name in tensors)
    ]
    texts = [text.name for text in spec.text]
    if all(part in missing for part in texts):
        others = tuple(text.below for other in FAMILIES.values() for text in other.text)
        found = next((name for name in tensors if name.startswith(others)), "")
        if not found:
            raise _no_text(path)
        marks = spec.file
        witness = marks.sketch({name: info.shape for name, info in tensors.items()})[1] if marks else ""
        raise UserError(
            f"{path} has the {spec.denoiser_title} of {spec.short} and another family's text encoder",
            why=f"{witness} tells the {spec.denoiser_title}, and the text encoder is named {found}",
            fix=SUPPORTED,
        )
    if lacking := [f"{part} ({prefixes[part]}*)" for part in missing if part != "vae"]:
        raise UserError(
            f"{path} is not a whole model: {', '.join(lacking)} is missing",
            why=f"a {spec.short} checkpoint holds {', '.join(prefixes)}",
            fix="give a checkpoint with everything in it, or a diffusers folder",
        )
    return tuple(part for part in prefixes if part not in missing)


def _prediction(
    path: Path, marks: SingleFileMarks, header: Header, names: Mapping[str, str], reasons: list[str]
) -> Settled:
    """Metadata, marker tensors and a .yaml beside the file; where none of them speaks, for some families a tensor's
    spread."""
    claims = claims_of(header, marks.velocity)
    beside, silent = yaml_claims(path)
    settled = settle([*claims, *beside], reasons)
    if settled is None and silent:
        reasons.append(f"epsilon: {silent} beside the file names no v parameterization")
        settled = Settled(EPSILON)
    if settled is None and marks.spread is not None:
        from engine.models.detect_values import prediction_by_spread

        name, limit = marks.spread
        settled = Settled(prediction_by_spread(path, header, name, names.get(name, name), limit, reasons))
    if settled is None:
        reasons.append("epsilon: what this family predicts unless the file says otherwise")
        settled = Settled(EPSILON)
    if not settled.doubt and settled.prediction == EPSILON and marks.no_signal in header.tensors:
        marker = f"the marker {marks.no_signal} in the file stands for a schedule that takes v-prediction"
        return Settled(EPSILON, f"{marker}, and {reasons[-1]}")
    return settled
