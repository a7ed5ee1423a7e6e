"""Puts a whole model together for a file: what was trained, and everything else from the base as it is stored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from engine.errors import UserError
from engine.export.base import Composed, Exported, ExportRequest, Format, check_request
from engine.models.keymap_text import with_level
from engine.tensorfiles.safetensors_file import target_dtype

KIND = "full"
OPENS_IN = ("ComfyUI", "AUTOMATIC1111", "kohya", "diffusers")


@dataclass(frozen=True)
class WholeModel:
    """State dicts by part under diffusers' names (text encoders with `text_model.`), and the configs."""

    parts: Mapping[str, Mapping[str, Tensor]]
    configs: Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True)
class WholeFormat(Format):
    """A format that holds a whole model; `compose` is not used, as a folder is more than one file."""

    def write(self, request: ExportRequest) -> Exported:
        check_request(self, request)
        return self.write_model(request, whole_model(request))

    def write_model(self, request: ExportRequest, model: WholeModel) -> Exported:
        """Write, read back, compare; only then the result has its name."""
        raise UserError(f"the format {self.name} holds no whole model")


def whole_model(request: ExportRequest) -> WholeModel:
    """The artifact's tensors in the place of the base's; a part that its fact `fresh` names has nothing of the base."""
    assert request.base is not None, "a whole model needs its base"
    family = request.base()
    own: dict[str, dict[str, Tensor]] = {}
    for name, tensor in request.artifact.tensors.items():
        part, _, rest = name.partition(".")
        own.setdefault(part, {})[rest] = tensor
    parts: dict[str, Mapping[str, Tensor]] = {}
    for part, module in family.parts.items():
        given = own.pop(part, {})
        if part in cast(Sequence[str], request.artifact.facts.get("fresh", ())):
            parts[part] = given
            continue
        state = dict(module.state_dict())
        state = with_level(state) if part.startswith("text_encoder") else state
        strange = [name for name in given if name not in state]
        assert not strange, f"{part} has no {strange[:3]}"
        parts[part] = {**state, **given}
    assert not own, f"the base has no part {sorted(own)}"
    return WholeModel(parts, request.model.configs)


def no_table(request: ExportRequest) -> Composed:
    """A whole model is not composed in memory as one table of tensors."""
    raise UserError(f"{request.out.name}: a whole model is written part by part")


def compare(
    wanted: Mapping[str, Mapping[str, Tensor]],
    found: Mapping[str, Mapping[str, Tensor]],
    dtype: torch.dtype,
    path: Path,
) -> int:
    """How many tensors were compared; UserError names the first that is missing, not finite or different."""
    count = 0
    for part, state in wanted.items():
        got = found[part]
        got = with_level(got) if part.startswith("text_encoder") else got
        for name, tensor in state.items():
            if name.endswith("position_ids"):
                continue
            if name not in got:
                raise _differs(path, f"{part}.{name} is missing")
            expected = tensor.detach().to("cpu", target_dtype(tensor, dtype))
            stored = got[name].to("cpu")
            if expected.is_floating_point() and not torch.isfinite(expected).all():
                raise UserError(
                    f"{path.name} was not written: {part}.{name} holds values that are not finite",
                    "they are not finite in training already, or too large for the file's dtype",
                    "export an earlier checkpoint, or set output.dtype to fp32",
                )
            if not torch.equal(stored.to(expected.dtype), expected):
                raise _differs(path, f"{part}.{name} has other values")
            count += 1
    return count


def _differs(path: Path, why: str) -> UserError:
    return UserError(
        f"{path.name} does not read back as it was written",
        why,
        "check the disk, then export again; the checkpoint is untouched",
    )
