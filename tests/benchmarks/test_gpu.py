"""The GPU benchmark in small, on the CPU: the same code with a narrow UNet."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks.gpu_model import flops_per_image
from benchmarks.gpu_report import gpu_markdown

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    out = tmp_path_factory.mktemp("gpu") / "gpu.json"
    argv = [sys.executable, "-m", "benchmarks.gpu", "--small", "--out", str(out)]
    env = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(argv, cwd=ROOT, env=env, capture_output=True, text=True, timeout=400)
    assert done.returncode == 0, done.stderr[-3000:]
    found: dict[str, Any] = json.loads(out.read_text())
    return found


def test_the_small_run_fills_every_field_that_needs_no_cuda(result: dict[str, Any]) -> None:
    assert result["small"] is True
    assert result["machine"]["cpu"]
    assert result["versions"]["torch"] != "absent"
    assert [row["batch"] for row in result["throughput"]] == [1, 2]
    for row in result["throughput"]:
        assert row["steps"] == 4
        assert row["images_per_s"] > 0
        assert row["skipped"] == 0
        assert row["mfu"] is None
        assert row["peak_reserved_bytes"] is None
    assert result["flops_per_image"] > 0
    assert result["trainable_parameters"] > 0
    assert result["host_syncs"] is None
    assert result["cuda"] is None


def test_the_killed_run_ends_bit_equal_to_the_other(result: dict[str, Any]) -> None:
    resume = result["resume"]
    assert 0 < resume["resumed_from"] <= resume["killed_after"] < resume["steps"]
    assert resume["losses_equal"] is True
    assert resume["weights_equal"] is True
    assert resume["max_loss_difference"] == 0
    assert resume["max_weight_difference"] == 0


def test_the_result_becomes_a_table(result: dict[str, Any]) -> None:
    text = gpu_markdown(result)
    assert "bit-equal over 24 steps" in text
    assert "images/s at batch 2" in text


def test_sd15_counts_the_operations_that_its_layers_add_up_to() -> None:
    # 0.803e12 forward for the UNet at 512 px, and backward for activations alone: LoRA has no weight gradients.
    count = flops_per_image(small=False, side=512)
    assert abs(count / 1.725e12 - 1) < 0.005
