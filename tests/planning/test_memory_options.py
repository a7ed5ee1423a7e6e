"""What options that save memory do not go with is an error that says why and what to do."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.cost.machine import Machine
from engine.planning.check import check
from tests.support.plans import make_plan


@pytest.mark.parametrize(
    ("changes", "key", "words"),
    [
        ({"hardware__checkpointed_blocks": 2}, "checkpointed_blocks", "gradient_checkpointing is off"),
        ({"hardware__checkpointed_blocks": 2, "hardware__gradient_checkpointing": True}, "", ""),
        ({"hardware__swapped_blocks": 2, "method": "full"}, "swapped_blocks", "written back"),
        ({"hardware__swapped_blocks": 2, "method": "dreambooth"}, "swapped_blocks", "written back"),
        ({"hardware__swapped_blocks": 2, "hardware__compile": True}, "swapped_blocks", "compiled code"),
        (
            {"hardware__offload_activations": True, "hardware__compile": True},
            "offload_activations",
            "compiled code",
        ),
        ({"hardware__offload_activations": True, "method": "full"}, "", ""),
        ({"hardware__swapped_blocks": 2}, "", ""),
    ],
)
def test_contradictions_are_errors(
    changes: dict[str, object], key: str, words: str, pictures: Path, no_gpu: Machine
) -> None:
    plan = make_plan(pictures, **{"data__trigger": "zqx"} | changes)
    found = [problem for problem in check(plan, here=no_gpu) if problem.level == "error"]
    assert [problem.key for problem in found] == ([f"hardware.{key}"] if key else [])
    assert all(words in problem.why and problem.fix for problem in found)
