"""The recipe "an export format" is enough: one file, one line to register it, one name in the method's formats."""

from __future__ import annotations

import json
from pathlib import Path

from safetensors.torch import load_file

from tests.contributing.scratch import Scratch
from tests.support.pictures import write_pictures

FORMAT = '''"""A LoRA under its canonical names."""

from dataclasses import replace

from engine.export import kohya
from engine.export.base import Composed, ExportRequest, common_metadata


def compose(request: ExportRequest) -> Composed:
    """The artifact's own tensors."""
    return Composed(dict(request.artifact.tensors), common_metadata(request))


FORMAT = replace(kohya.FORMAT, name="bare", title="bare LoRA", compose=compose)
'''


def test_a_format_is_written_by_a_run_and_by_the_command(tmp_path: Path) -> None:
    tree, pictures = Scratch(tmp_path), write_pictures(tmp_path / "pictures")
    tree.write("engine/export/bare.py", FORMAT)
    registry = "engine/export/registry.py"
    tree.edit(registry, "    condition_nets,\n", "    bare,\n    condition_nets,\n")
    tree.edit(registry, "        kohya.FORMAT,\n", "        kohya.FORMAT,\n        bare.FORMAT,\n")
    tree.edit("engine/plan/methods/lora.py", 'FORMATS, "merged")', 'FORMATS, "merged", "bare")')

    new = ["new", "--base", "builtin:tiny", "--data", str(pictures), "--name", "cat", "-o", "plan.toml"]
    few = ["train.steps=1", "samples.every=0", "checkpoints.every=1", "data.resolution=64"]
    chosen = ['output.formats=["kohya", "bare"]', 'hardware.device="cpu"', "data.cache_text=off"]
    tree.sdtrain(*new, *(part for value in few + chosen for part in ("--set", value)))
    tree.sdtrain("run", "plan.toml", "--plain", "--dir", "run")
    written = load_file(tree.work / "run" / "export" / "cat-bare.safetensors")
    assert written and all(name.endswith((".lora_A.weight", ".lora_B.weight")) for name in written)
    again = tree.sdtrain("export", "run", "--format", "bare", "-o", "again.safetensors", "--json")
    assert [done["tensors"] for done in json.loads(again)["exported"]] == [len(written)]
    assert load_file(tree.work / "again.safetensors").keys() == written.keys()
