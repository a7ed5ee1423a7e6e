"""Writes and checks `.pt` files as AUTOMATIC1111 reads them: torch's old layout, plain dicts and tensors only."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from engine.errors import UserError
from engine.export.base import Composed, Exported, ExportRequest, Format, check_request, common_metadata
from engine.tensorfiles.safetensors_file import atomic_file

# The zip layout of torch since 2.9 has entries that AUTOMATIC1111's loader takes for an attack ("bad file inside").
LEGACY: dict[str, Any] = {"_use_new_zipfile_serialization": False}


@dataclass(frozen=True, kw_only=True)
class PickleFormat(Format):
    """A format whose file is one pickled dict; `pack` makes it, and `compose` says which tensors it holds."""

    pack: Callable[[ExportRequest], Mapping[Any, Any]]

    def write(self, request: ExportRequest) -> Exported:
        check_request(self, request)
        content = plain(self.pack(request))
        with atomic_file(request.out, lambda path: verify_pickle(path, content)) as file:
            torch.save(content, file, **LEGACY)
        tensors = self.compose(request).tensors
        return Exported(self.name, request.out, request.out.stat().st_size, len(tensors))


def packed(request: ExportRequest, tensors: Mapping[str, Tensor]) -> Composed:
    """The tensors with the metadata that a safetensors file would have, as `compose` answers."""
    return Composed(dict(tensors), common_metadata(request, kind=""))


def origin(request: ExportRequest) -> dict[str, str]:
    """Where the file comes from, as texts: plan, base model, step, trigger words, versions."""
    created = datetime.fromtimestamp(request.about.created, UTC).isoformat(timespec="seconds")
    notes = {key: text for key, text in common_metadata(request).items() if key.startswith("sdtrain.")}
    return {**notes, "sdtrain.created": created}


def plain(value: Any) -> Any:
    """The same content as plain dicts, lists, tuples and detached tensors that own just their numbers."""
    if isinstance(value, Tensor):
        return value.detach().cpu().clone().contiguous()
    if isinstance(value, Mapping):
        return {key: plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(plain(inner) for inner in value)
    assert value is None or isinstance(value, str | int | float | bool), type(value)
    return value


def verify_pickle(path: Path, content: Any) -> None:
    """UserError when the file does not read back, with nothing but weights allowed in it, as this content."""
    found = torch.load(path, map_location="cpu", weights_only=True)
    difference = _difference(found, content, "")
    if difference:
        raise UserError(
            f"{path.name} does not read back as it was written",
            why=difference,
            fix="check the disk, then export again; the checkpoint is untouched",
        )


def _difference(found: Any, wanted: Any, where: str) -> str:
    if type(found) is not type(wanted):
        return f"{where or 'the file'} is a {type(found).__name__}"
    if isinstance(wanted, Tensor):
        if not torch.isfinite(wanted).all():
            return f"{where} holds values that are not finite"
        same = found.dtype == wanted.dtype and torch.equal(found, wanted)
        return "" if same else f"{where} has other values"
    if isinstance(wanted, dict):
        if found.keys() != wanted.keys():
            return f"{where or 'the file'} has other keys"
        pairs = [(found[key], wanted[key], f"{where}/{key}") for key in wanted]
    elif isinstance(wanted, list | tuple):
        if len(found) != len(wanted):
            return f"{where} has another length"
        pairs = [
            (one, other, f"{where}/{at}") for at, (one, other) in enumerate(zip(found, wanted, strict=True))
        ]
    else:
        return "" if found == wanted else f"{where} is {found!r}"
    return next((text for pair in pairs if (text := _difference(*pair))), "")
