"""The names of a weights file as its makers meant them: without what wrappers, converters and libraries put in."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from engine.errors import UserError
from engine.models.specs import FAMILIES
from engine.tensorfiles.header import Header, TensorInfo

_WRAPPERS = frozenset({"module", "_orig_mod"})
"""What DataParallel and torch.compile put into names."""
_LOST_LEVEL = re.compile(
    r"((?:cond_stage_model|conditioner\.embedders\.\d+)\.transformer\.)((?:encoder|embeddings|final_layer_norm)\.)"
)
"""CLIPTextModel of transformers 5 has no `text_model.` level, and files made from it lack it."""
_BESIDE = ("first_stage_model.", "cond_stage_model.", "conditioner.")


def plain(name: str) -> str:
    """A name without the levels of DataParallel and torch.compile."""
    if "module." not in name and "_orig_mod." not in name:
        return name
    return ".".join(level for level in name.split(".") if level not in _WRAPPERS)


def plain_names(path: object, names: Iterable[str]) -> dict[str, str]:
    """{plain name: the file's own}. UserError where two of the file's names are one."""
    found: dict[str, str] = {}
    for name in names:
        other = found.setdefault(plain(name), name)
        if other != name:
            raise UserError(
                f"{path} holds {plain(name)!r} twice",
                why=f"as {other!r} and as {name!r}: which one is meant cannot be known",
                fix="save the model again without the wrapper (module. or _orig_mod.)",
            )
    return found


def single_file_names(path: object, names: Iterable[str]) -> dict[str, str]:
    """{name in the layout of single files: the file's own}."""
    found = plain_names(path, names)
    marks = [spec.file for spec in FAMILIES.values() if spec.file is not None]
    for start, roots in dict.fromkeys((mark.denoiser, mark.roots) for mark in marks):
        if any(name.startswith(start) for name in found):
            continue
        short = start.partition(".")[2]
        if short and any(name.startswith(short) for name in found):
            found = {
                f"{start}{name.removeprefix(short)}" if name.startswith(short) else name: own
                for name, own in found.items()
            }
        elif roots and any(name.startswith(_BESIDE) for name in found):
            found = {start + name if name.startswith(roots) else name: own for name, own in found.items()}
    return {_LOST_LEVEL.sub(r"\1text_model.\2", name, count=1): own for name, own in found.items()}


def renamed(header: Header, names: Mapping[str, str]) -> Header:
    """The same header under these names ({new: own})."""
    tensors: dict[str, TensorInfo] = {new: header.tensors[own] for new, own in names.items()}
    return Header(tensors, header.metadata)
