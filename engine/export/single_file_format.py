"""A whole model as one `.safetensors` file with the LDM/SGM names: what every program with a model menu opens."""

from __future__ import annotations

import os
from contextlib import suppress

from engine.export.base import TRAINED, Exported, ExportRequest, common_metadata
from engine.export.whole_model import KIND, OPENS_IN, WholeFormat, WholeModel, compare, no_table
from engine.families.single_file import read_single_file, write_single_file
from engine.folders import fsync_dir


class SingleFileFormat(WholeFormat):
    """Written beside its goal, read back through the family's key map, compared, and then renamed."""

    def write_model(self, request: ExportRequest, model: WholeModel) -> Exported:
        out = request.out
        out.parent.mkdir(parents=True, exist_ok=True)
        temporary = out.with_name(f".{out.stem}.{os.getpid()}.new.safetensors")
        notes = common_metadata(request, kind="")
        try:
            size = write_single_file(
                temporary,
                request.model.family,
                model.parts,
                {part: dict(config) for part, config in model.configs.items()},
                dtype=request.dtype,
                metadata=notes,
            )
            found = read_single_file(temporary)
            count = compare(model.parts, found.parts, request.dtype, out)
            temporary.replace(out)
        finally:
            with suppress(FileNotFoundError):
                temporary.unlink()
        fsync_dir(out.parent)
        return Exported(self.name, out, size, count)


FORMAT = SingleFileFormat(
    name="single_file",
    title="single-file model",
    extension=".safetensors",
    kind=KIND,
    families=TRAINED,
    opens_in=OPENS_IN,
    compose=no_table,
)
