"""The recipe "a plan field" is enough: declared in one place and read in one, a field is everywhere."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

from tests.contributing.scratch import Scratch
from tests.support.pictures import write_pictures

FIELD = """    loss_cap: float = option(0.0, "no sample's loss counts for more than this; 0 is off", ge=0, le=100)
"""
READER = """    if objective.loss_cap > 0:
        losses = losses.clamp(max=objective.loss_cap)
"""
END = "    return losses * weights if weights.ndim == 1 else losses\n"
LOSSES = """
import json, sys, torch
from pathlib import Path
from engine.plan.files import load_plan
from engine.train.objective import sample_losses
plan = load_plan(Path(sys.argv[1]))
far, none = torch.full((1, 4, 2, 2), 5.0), torch.zeros(1, 4, 2, 2)
losses = sample_losses(far, none, torch.tensor([0]), None, plan.objective, torch.ones(1))
print(json.dumps(losses.flatten().tolist()))
"""


def test_a_field_is_declared_once_and_read_once(tmp_path: Path) -> None:
    tree, pictures = Scratch(tmp_path), write_pictures(tmp_path / "pictures")
    tree.edit("engine/plan/objective.py", "    noise_offset: float", f"{FIELD}    noise_offset: float")
    tree.edit("engine/train/objective.py", END, READER + END)

    assert "| `loss_cap` | float | `0.0` | no sample's loss counts" in tree.sdtrain("schema", "--markdown")
    new = ["new", "--base", "builtin:tiny", "--data", str(pictures), "--name", "capped", "-o", "plan.toml"]
    tree.sdtrain(*new, "--set", "objective.loss_cap=2.0")
    written = tomllib.loads((tree.work / "plan.toml").read_text(encoding="utf-8"))
    assert written["objective"]["loss_cap"] == 2.0
    refused = json.loads(
        tree.sdtrain("check", "plan.toml", "--set", "objective.loss_cap=-1.0", "--json", code=2)
    )
    assert [problem["key"] for problem in refused["error"]["problems"]] == ["objective.loss_cap"]
    assert json.loads(tree.python("-c", LOSSES, "plan.toml")) == [2.0]
