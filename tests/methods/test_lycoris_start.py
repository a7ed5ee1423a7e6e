"""A LoHa and a LoKr go on from a file: 0 steps more give the same file, and what does not fit is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from engine.plan.schema import Plan
from engine.planning.build import build
from engine.planning.builder import Facts
from engine.planning.check import check
from tests.methods.test_lora_start import _exported, _plan, _prediction
from tests.support.sessions import prepared, run_steps


@pytest.mark.parametrize(("family", "options"), [
    ("sd1", {"kind": "loha", "targets": "all", "text_encoder": True}),
    ("sd1", {"kind": "lokr", "targets": "all"}),
    ("sdxl", {"kind": "loha", "targets": "attention", "alpha": 2.0}),
    ("sdxl", {"kind": "lokr", "targets": "attention_ff", "factor": 4, "alpha": 2.0}),
])  # fmt: skip
def test_no_steps_more_give_the_same_prediction_and_file(
    family: str, options: dict[str, Any], narrow_models: dict[str, Path], pictures: Path, tmp_path: Path
) -> None:
    base = narrow_models[family]
    made = prepared(_plan(base, pictures, **options), tmp_path / "cache")
    run_steps(made)
    file = _exported(made, "kohya", tmp_path / "one.safetensors", family)
    # A file's strength is in its tensors, so that its alpha is its rank.
    again = prepared(
        _plan(base, pictures, **{**options, "alpha": 4.0, "start": str(file)}), tmp_path / "cache"
    )
    written, first = (
        load_file(_exported(again, "kohya", tmp_path / "two.safetensors", family)),
        load_file(file),
    )
    assert written.keys() == first.keys()
    assert all(torch.equal(written[name], value) for name, value in first.items())
    # Where the strength moves into the tensors, a product is rounded in another place.
    torch.testing.assert_close(_prediction(again), _prediction(made), rtol=1e-5, atol=1e-6)
    halved = prepared(
        _plan(base, pictures, **{**options, "alpha": 2.0, "start": str(file)}), tmp_path / "cache"
    )
    torch.testing.assert_close(_prediction(halved), _prediction(made), rtol=1e-5, atol=1e-6)
    run_steps(again)


def _keys(plan: Plan) -> dict[str, str]:
    return {p.key: f"{p.what} {p.why} {p.fix}" for p in check(plan) if p.level == "error"}


def test_what_does_not_fit_is_refused_by_name_and_a_new_plan_follows_the_file(
    narrow_models: dict[str, Path], pictures: Path, tmp_path: Path
) -> None:
    base = narrow_models["sd1"]
    made = prepared(_plan(base, pictures, kind="loha", targets="attention"), tmp_path / "cache")
    file = _exported(made, "kohya", tmp_path / "one.safetensors", "sd1")

    def found(**options: Any) -> dict[str, str]:
        return _keys(_plan(base, pictures, start=str(file), **options))

    assert found(kind="loha") == {}
    assert "set lora.kind = 'loha'" in found()["lora.start"]
    assert "set lora.kind = 'loha'" in found(kind="lokr")["lora.kind"]
    assert "has rank 4" in found(kind="loha", rank=8)["lora.rank"]
    assert "lora.targets" in found(kind="loha", targets="all")
    assert "lora.text_encoder" in found(kind="loha", text_encoder=True)
    tensors = load_file(file)
    save_file({**tensors, "lora_unet_x.hada_t1": torch.zeros(1)}, tmp_path / "core.safetensors")
    core = _keys(_plan(base, pictures, kind="loha", start=str(tmp_path / "core.safetensors")))
    assert "core" in core["lora.start"]
    answers = {
        "name": "on",
        "base.model": str(base),
        "data.path": str(pictures),
        "method": "lora",
        "lora.start": str(file),
    }
    options: Any = build(answers, Facts()).plan.options
    assert (options.kind, options.rank, options.alpha, options.targets) == ("loha", 4, 4.0, "attention")
