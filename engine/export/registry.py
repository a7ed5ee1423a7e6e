"""Every export format by its name."""

import difflib
from dataclasses import replace

from engine.errors import UserError
from engine.export import (
    a1111_embedding,
    a1111_hypernetwork,
    condition_nets,
    diffusers_folder,
    diffusers_lora,
    embedding,
    kohya,
    merged,
    single_file_format,
)
from engine.export.base import Exported, ExportRequest, Format

FORMATS: dict[str, Format] = {
    form.name: form
    for form in (
        kohya.FORMAT,
        diffusers_lora.FORMAT,
        single_file_format.FORMAT,
        diffusers_folder.FORMAT,
        a1111_embedding.FORMAT,
        embedding.FORMAT,
        a1111_hypernetwork.FORMAT,
        merged.FORMAT,
        *condition_nets.FORMATS,
    )
}


def get_format(name: str) -> Format:
    """A format by its name; UserError offers the nearest one."""
    if name in FORMATS:
        return FORMATS[name]
    near = difflib.get_close_matches(name, FORMATS, 1)
    raise UserError(
        f"there is no export format {name!r}",
        fix=(f"did you mean {near[0]!r}? " if near else "") + f"known: {', '.join(FORMATS)}",
    )


def export(name: str, request: ExportRequest) -> Exported:
    """Writes one file and proves it: it is read back and compared before it gets its name.

    UserError for what the format cannot hold or a name that is taken; OSError when the disk is full.
    """
    form = get_format(name)
    return replace(form.write(request), opens_in=form.readers(request))
