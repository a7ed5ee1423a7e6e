"""One network as a diffusers folder: config.json and its weights, as `from_pretrained` reads it."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from engine.export.base import Exported, ExportRequest, Format, check_request
from engine.export.published import without_paths
from engine.folders import replace_dir
from engine.tensorfiles.safetensors_file import write_safetensors

WEIGHTS = "diffusion_pytorch_model.safetensors"


@dataclass(frozen=True)
class NetworkFolder(Format):
    """`compose` gives the weights; the config is the artifact's fact `config`, of class `network`."""

    network: str = ""

    def write(self, request: ExportRequest) -> Exported:
        """Written to a hidden folder, read back, compared and synced; then it takes its name."""
        check_request(self, request)
        content = self.compose(request)
        out = request.out
        out.parent.mkdir(parents=True, exist_ok=True)
        temporary = out.with_name(f".{out.name}.{time.time_ns()}.new")
        try:
            temporary.mkdir()
            write_safetensors(
                temporary / WEIGHTS,
                content.tensors,
                content.metadata,
                dtype=request.dtype,
                check=lambda path: self.verify(path, content, request.dtype),
            )
            config = cast(Mapping[str, Any], request.artifact.facts["config"])
            own = without_paths({key: value for key, value in config.items() if not key.startswith("_")})
            text = json.dumps({"_class_name": self.network, **own}, indent=2) + "\n"
            (temporary / "config.json").write_text(text, encoding="utf-8")
            replace_dir(temporary, out)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
        size = sum(file.stat().st_size for file in out.iterdir())
        return Exported(self.name, out, size, len(content.tensors))
