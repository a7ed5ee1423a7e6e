"""A whole model as a diffusers folder: parts, tokenizers, scheduler, model index and a model card."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from engine.export.base import TRAINED, Exported, ExportRequest, common_metadata
from engine.export.model_card import model_card
from engine.export.published import without_paths
from engine.export.tokenizer_files import write_tokenizer
from engine.export.whole_model import KIND, WholeFormat, WholeModel, compare, no_table
from engine.families.load import load_family
from engine.folders import replace_dir
from engine.tensorfiles.safetensors_file import write_safetensors

WEIGHTS, TEXT_WEIGHTS = "diffusion_pytorch_model.safetensors", "model.safetensors"


class DiffusersFolder(WholeFormat):
    """Written to a hidden folder, loaded back as a base model would be, compared, synced, and then renamed."""

    def write_model(self, request: ExportRequest, model: WholeModel) -> Exported:
        out = request.out
        out.parent.mkdir(parents=True, exist_ok=True)
        temporary = out.with_name(f".{out.name}.{time.time_ns()}.new")
        try:
            self._fill(temporary, request, model)
            loaded = load_family(temporary)
            found = {part: loaded.parts[part].state_dict() for part in model.parts}
            count = compare(model.parts, found, request.dtype, out)
            replace_dir(temporary, out)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
        size = sum(file.stat().st_size for file in out.rglob("*") if file.is_file())
        return Exported(self.name, out, size, count)

    def _fill(self, folder: Path, request: ExportRequest, model: WholeModel) -> None:
        for part, state in model.parts.items():
            _write_part(folder / part, part, state, model.configs[part], request)
        for part, tokenizer in request.tokenizers.items():
            source, target = Path(tokenizer.name_or_path), folder / part.replace("text_encoder", "tokenizer")
            write_tokenizer(source, target, str(tokenizer.pad_token))
        scheduler = without_paths({"_class_name": "DDIMScheduler", **model.configs["scheduler"]})
        _write_json(folder / "scheduler" / "scheduler_config.json", scheduler)
        _write_json(folder / "model_index.json", _index(model, request, str(scheduler["_class_name"])))
        (folder / "README.md").write_text(model_card(request), encoding="utf-8")


def _write_part(
    folder: Path, part: str, state: Mapping[str, Tensor], config: Mapping[str, Any], request: ExportRequest
) -> None:
    folder.mkdir(parents=True)
    text, (_, kind) = part.startswith("text_encoder"), request.model.spec.classes[part]
    tensors = {name: value for name, value in state.items() if not name.endswith("position_ids")}
    file = folder / (TEXT_WEIGHTS if text else WEIGHTS)
    notes = {**common_metadata(request, ""), "modelspec.implementation": "diffusers"}
    write_safetensors(file, tensors, notes, dtype=request.dtype)
    own = without_paths({key: value for key, value in config.items() if key != "dtype"})
    if text:
        # transformers takes the dtype from here: fp32, as diffusers loads the other parts, whatever the file holds.
        own |= {"architectures": [kind], "torch_dtype": "float32"}
    else:
        own["_class_name"] = kind
    _write_json(folder / "config.json", own)


def _index(model: WholeModel, request: ExportRequest, scheduler: str) -> dict[str, object]:
    names = [*model.parts, *(part.replace("text_encoder", "tokenizer") for part in request.tokenizers)]
    spec = request.model.spec
    index: dict[str, object] = {name: list(spec.classes[name]) for name in sorted(names)}
    index |= {"scheduler": ["diffusers", scheduler], "feature_extractor": [None, None]}
    index["image_encoder"] = [None, None]
    index["_diffusers_version"] = "0.32.0"
    return {"_class_name": spec.pipeline, **spec.index, **index}


def _write_json(path: Path, value: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")


FORMAT = DiffusersFolder(
    name="diffusers_folder",
    title="diffusers folder",
    extension="",
    kind=KIND,
    families=TRAINED,
    opens_in=("diffusers", "kohya"),
    compose=no_table,
)
