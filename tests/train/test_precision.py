"""What trains keeps every digit of where it starts, whatever the precision of the frozen parts."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from engine.cost.machine import half_format
from engine.families.load import load_family
from engine.train.setup import DTYPES, choose_precision, load_plan_family, prepare
from tests.methods.test_table import ROWS
from tests.support.runs import quick_plan
from tests.support.sessions import CPU, prepared, run_steps, weights

METHODS: dict[str, dict[str, object]] = {
    "textual_inversion": {"data__trigger": "<cat>", "textual_inversion__vectors": 3},
    "lora": {"lora__text_encoder": True},
    "full": {"full__text_encoder": True},
}


def _starts(base: Path, pictures: Path, precision: str, method: str) -> tuple[dict[str, Tensor], Any]:
    plan = quick_plan(base, pictures, method=method, train__precision=precision, **METHODS[method])
    adapted = prepare(plan, load_plan_family(plan), CPU)
    return {item.name: item.parameter.detach().clone() for item in adapted.trainables}, adapted


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_half_formats_start_from_the_same_fp32_weights(
    precision: str, method: str, small_sd1: Path, pictures: Path
) -> None:
    (plain, _), (found, adapted) = (
        _starts(small_sd1, pictures, kind, method) for kind in ("fp32", precision)
    )
    assert plain.keys() == found.keys()
    assert all(
        value.dtype == torch.float32 and torch.equal(value, plain[key]) for key, value in found.items()
    )
    training = {id(item.parameter) for item in adapted.trainables}
    frozen = {
        (part, value.dtype)
        for part, module in adapted.family.parts.items()
        for value in module.parameters()
        if id(value) not in training
    }
    compute = DTYPES[precision]
    wanted = {("vae", torch.float32)}
    wanted |= set() if method == "full" else {("unet", compute), ("text_encoder", compute)}
    assert frozen == wanted


def test_whole_models_start_from_the_bases_own_numbers(small_sd1: Path, pictures: Path) -> None:
    found, _ = _starts(small_sd1, pictures, "bf16", "full")
    base = load_family(small_sd1)
    stored = {f"unet.{name}": value.float() for name, value in base.denoiser.named_parameters()}
    assert any(not torch.equal(value.bfloat16().float(), value) for value in stored.values())
    assert all(torch.equal(found[name], value) for name, value in stored.items())


THRIFTY = {"train__weights": "bf16", "hardware__fused_backward": "groups", "train__ema": 0.5}


@pytest.mark.parametrize("kept", ["fp32", "bf16"])
@pytest.mark.parametrize("name", ROWS)
def test_every_method_trains_in_bf16_on_a_cpu(
    name: str, kept: str, small_sd1: Path, home: Path, tmp_path: Path
) -> None:
    row = ROWS[name]
    changes = {"train__steps": 1, "train__precision": "bf16", **row.changes}
    changes |= THRIFTY if kept == "bf16" else {}
    if row.method == "dreambooth":  # class pictures are a second batch
        changes["hardware__fused_backward"] = "off"
    for key, value in changes.items():
        changes[key] = value.replace("{folder}", str(tmp_path)) if isinstance(value, str) else value
    made = prepared(quick_plan(small_sd1, row.data(tmp_path), method=row.method, **changes), home / "cache")
    before = weights(made)
    (report,) = run_steps(made)
    assert math.isfinite(report.loss) and not report.skipped
    assert any(not torch.equal(value, before[key]) for key, value in weights(made).items())
    assert {value.dtype for value in before.values()} == {DTYPES[kept]}
    with made.loop.averaged():
        learned = made.adapted.method.artifact(made.adapted.family)
    assert all(value.isfinite().all() for value in learned.tensors.values())


def test_new_words_train_in_fp32_beside_a_bf16_encoder(
    small_sd1: Path, pictures: Path, tmp_path: Path
) -> None:
    changes = METHODS["textual_inversion"] | {"train__precision": "bf16", "train__learning_rate": 1e-4}
    plan = quick_plan(small_sd1, pictures, method="textual_inversion", **changes)
    made = prepared(plan, tmp_path / "cache")
    (before,) = weights(made).values()
    reports = run_steps(made)
    (after,) = weights(made).values()
    assert all(not report.skipped for report in reports)
    assert after.dtype == torch.float32 and bool((after != before).all())
    assert not torch.equal(after.bfloat16().float(), after), "smaller steps than bf16 has digits for are kept"
    encoder: Any = made.adapted.family.parts["text_encoder"]
    assert encoder.get_input_embeddings().weight.dtype == torch.bfloat16


CARDS = [  # capability, format
    ((6, 1), "fp16"), ((7, 0), "fp16"), ((7, 5), "fp16"), ((8, 0), "bf16"), ((8, 6), "bf16"), ((9, 0), "bf16"),
    ((12, 0), "bf16"),
]  # fmt: skip


@pytest.mark.parametrize(("capability", "expected"), CARDS)
def test_auto_takes_bf16_only_where_the_card_computes_with_it(
    capability: tuple[int, int], expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The second card is the one that is asked, whatever the first can do.
    others = {0: (9, 0), 1: capability}
    monkeypatch.setattr(
        torch.cuda, "get_device_capability", lambda device=None: others[torch.device(device).index or 0]
    )
    assert choose_precision("auto", torch.device("cuda:1")) == expected == half_format(capability)
    assert choose_precision("bf16", torch.device("cuda:1")) == "bf16"
    assert choose_precision("auto", torch.device("cpu")) == "fp32"
