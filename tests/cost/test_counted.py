"""The forecast against memory that was counted: by other code, and by following every storage of a real step."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.forecast import CASES, Case, forecast_bytes, plan_of
from benchmarks.live_storage import LiveStorage, counted_bytes
from engine.cost.memory import parts_of
from engine.cost.model_size import ModelSize
from engine.cost.peak import forecast_memory
from engine.models.bases import locate
from engine.plan.optimizers import OPTIMIZERS
from engine.plan.schema import Plan
from engine.tracing.trace import adapt
from engine.train.exporting import export_all
from tests.support.pictures import write_conditions
from tests.support.plans import GIB, make_plan
from tests.support.sessions import prepared

ELSEWHERE = [case for case in CASES if case.elsewhere]


@pytest.mark.parametrize("case", ELSEWHERE, ids=lambda case: case.title)
def test_the_forecast_is_what_other_code_counted(case: Case) -> None:
    # That code had peft's own LoRA layers, each of which keeps a copy of its input for the backward pass.
    least = 0.94 if case.changes.get("method", "lora") == "lora" else 0.98
    assert least * case.elsewhere <= forecast_bytes(case) / GIB <= 1.02 * case.elsewhere


def test_a_plan_at_its_own_sizes_takes_what_the_marked_trace_says() -> None:
    case = Case("a rank and a bucket of its own", "sd1", (640, 448), {"lora.rank": 5, "train.batch_size": 3})
    assert counted_bytes(plan_of(case), None, "sd1", *case.size) == pytest.approx(
        forecast_bytes(case), rel=1e-3
    )


REAL: list[dict[str, object]] = [
    {},
    {"lora__targets": "all", "train__batch_size": 3},
    {"lora__kind": "loha"},
    {"lora__kind": "lokr"},
    {"lora__text_encoder": True, "hardware__gradient_checkpointing": True},
    {"method": "full"},
    {"method": "full", "hardware__gradient_checkpointing": True},
    {"method": "full", "train__gradient_accumulation": 2},
    {"method": "dreambooth"},
    {"method": "scratch"},
    {"method": "textual_inversion", "data__trigger": "zqx"},
    {"method": "hypernetwork"},
    {"method": "controlnet"},
    {"method": "t2i_adapter"},
    {"method": "style_lora"},
]


@pytest.mark.parametrize("changes", REAL, ids=str)
def test_a_real_step_takes_what_the_forecast_says(
    changes: dict[str, object], pictures: Path, home: Path, tmp_path: Path
) -> None:
    """On a CPU, in fp32, on the built-in model: forward and backward pass of the first step, beyond what was there."""
    plan = _real(changes, pictures, tmp_path)
    made = prepared(plan, home / "cache")
    counter = LiveStorage()
    family, method = made.adapted.family, made.adapted.method
    modules = (*family.parts.values(), *method.modules().values())
    counter.hold(value for module in modules for value in (*module.parameters(), *module.buffers()))
    before = counter.now
    taken = _peak_of_the_losses(made.loop, counter) - before
    found = forecast_memory(plan, ModelSize(plan, locate("builtin:tiny")), None, False, False, None).setting
    assert found.found.source == "table"
    step = sum(part.size for part in parts_of(found) if "at the peak of" in part.name)
    assert step == pytest.approx(taken, rel=0.1)
    assert step >= 0.97 * taken


def _real(changes: dict[str, object], pictures: Path, folder: Path) -> Plan:
    method = str(changes.get("method", "lora"))
    more: dict[str, object] = {"samples__every": 0}
    if method in ("controlnet", "t2i_adapter"):
        write_conditions(pictures, folder / "conditions")
        more[f"{method}__condition_path"] = str(folder / "conditions")
    return make_plan(pictures, **{**more, **changes})


def _peak_of_the_losses(loop: object, counter: LiveStorage) -> int:
    """The most that is alive while the batches of one step go forward and backward."""
    import torch

    from engine.train.loop import Loop

    assert isinstance(loop, Loop)
    batches = list(loop.feed.step(1, loop.limit))
    with counter:
        for batch in batches:
            torch.autograd.backward([loop._loss(1, batch)])
    return counter.peak


@pytest.mark.parametrize("blocks", [4, 100])
def test_a_real_step_with_swapped_blocks_has_what_the_forecast_says_on_the_device(
    blocks: int, pictures: Path, home: Path, tmp_path: Path
) -> None:
    """On a CPU both sides are main memory: what the blocks live in is taken off."""
    plan = _real({"hardware__swapped_blocks": blocks, "lora__targets": "attention"}, pictures, tmp_path)
    made = prepared(plan, home / "cache")
    counter = LiveStorage()
    family, method = made.adapted.family, made.adapted.method
    modules = (*family.parts.values(), *method.modules().values())
    counter.hold(value for module in modules for value in (*module.parameters(), *module.buffers()))
    homes = sum(value.nbytes for block in made.adapted.offload._blocks for value in block.homes)
    taken = _peak_of_the_losses(made.loop, counter) - homes
    found = forecast_memory(plan, ModelSize(plan, locate("builtin:tiny")), None, False, False, None).setting
    left_out = ("Python and libraries", "AdamW states")
    parts = [
        part for part in parts_of(found) if "training" in part.phases and not part.name.startswith(left_out)
    ]
    assert sum(part.size for part in parts) == pytest.approx(taken, rel=0.1)
    assert sum(part.size for part in parts) >= 0.97 * taken


def test_states_of_an_adapter_are_counted_by_the_shapes_of_its_halves() -> None:
    case = Case("8-bit states of a narrow adapter", "sd1", (512, 512), {"optimizer.name": "adamw8bit"})
    plan = plan_of(case)
    adapted = adapt(plan, None, "sd1")
    state_bytes = OPTIMIZERS["adamw8bit"].state_bytes
    real = sum(state_bytes(tuple(item.parameter.shape)) for item in adapted.trainables)
    assert ModelSize(plan, None).states == pytest.approx(real, rel=0.02)


@pytest.mark.parametrize(
    "changes",
    [
        {"lora__targets": "all", "output__formats": ["kohya"]},
        {"output__formats": ["merged"]},
        {"method": "full"},
        {"method": "full", "output__dtype": "fp32"},
    ],
    ids=str,
)
def test_an_export_holds_what_the_forecast_says_at_most(
    changes: dict[str, object], pictures: Path, home: Path, tmp_path: Path
) -> None:
    """Storages alone: what Python holds of a small file beside them is next to nothing of a large one."""
    plan = _real(changes, pictures, tmp_path)
    made = prepared(plan, home / "cache")
    counter = LiveStorage()
    modules = (*made.adapted.family.parts.values(), *made.adapted.method.modules().values())
    counter.hold(value for module in modules for value in (*module.parameters(), *module.buffers()))
    before = counter.now
    with counter:
        export_all(plan, made.adapted, tmp_path / "out", 1, made.report.items, "", None, 0.0, lambda *_: None)
    taken = counter.peak - before
    found = forecast_memory(plan, ModelSize(plan, locate("builtin:tiny")), None, False, False, None).setting
    (part,) = (part for part in parts_of(found) if part.name.startswith("what is exported"))
    assert 0.65 * part.size <= taken <= 1.03 * part.size
