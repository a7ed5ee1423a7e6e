"""hardware.compile: the denoiser runs compiled and computes the same, or runs as it is and says so."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from engine.train import compiling
from engine.train.compiling import compile_module, is_compiled, make_eager
from tests.support.models import write_small_sd1
from tests.support.runs import quick_plan
from tests.support.sessions import Prepared, prepared, run_steps

PARTS = "aot_eager_decomp_partition"
"""torch's compiler without the generated code: it traces, differentiates and cuts as the whole one does."""


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four blocks that repeat, of one size: they are compiled once."""
    return write_small_sd1(tmp_path_factory.mktemp("models") / "one", levels=1)


def pair(base: Path, pictures: Path, folder: Path) -> tuple[Prepared, Prepared]:
    """The same two steps, asked to be compiled and not."""
    changes: dict[str, object] = {"train__steps": 2, "train__batch_size": 1}
    compiled = prepared(quick_plan(base, pictures, hardware__compile=True, **changes), folder)
    return compiled, prepared(quick_plan(base, pictures, **changes), folder)


def test_two_compiled_steps_agree_with_eager_ones(
    base: Path, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        compiling, "compile_module", lambda module: module.compile_repeated_blocks(backend=PARTS)
    )
    compiled, eager = pair(base, pictures, tmp_path)
    losses = [report.loss for report in run_steps(compiled)]
    assert is_compiled(compiled.adapted.family.denoiser)
    assert compiled.warnings == []
    assert losses == pytest.approx([report.loss for report in run_steps(eager)], rel=1e-4)
    assert not is_compiled(eager.adapted.family.denoiser)


def test_whatever_the_machines_own_compiler_gives_the_training_is_right(
    base: Path, pictures: Path, tmp_path: Path
) -> None:
    made, eager = pair(base, pictures, tmp_path)
    losses = [report.loss for report in run_steps(made)]
    assert losses == pytest.approx([report.loss for report in run_steps(eager)], rel=1e-4)
    assert is_compiled(made.adapted.family.denoiser) == (made.warnings == [])
    assert made.warnings in ([], ["not-compiled"])


def refuse(graph: Any, inputs: Any) -> Any:
    raise RuntimeError("no compiler is here")


class Wrong(torch.autograd.Function):
    """The right answer with a gradient a tenth too large."""

    @staticmethod
    def forward(ctx: Any, value: torch.Tensor) -> torch.Tensor:
        return value.clone()

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> torch.Tensor:
        return grads[0] * 1.1


def compile_wrongly(module: Any) -> None:
    plain = module.forward
    apply: Any = Wrong.apply
    module._compiled_call_impl = lambda *given, **named: (apply(plain(*given, **named)[0]),)


@pytest.mark.parametrize("compile", [lambda module: module.compile(backend=refuse), compile_wrongly])
def test_what_cannot_be_compiled_runs_as_it_is_and_is_told(
    base: Path,
    pictures: Path,
    tmp_path: Path,
    compile: Callable[[nn.Module], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(compiling, "compile_module", compile)
    made, eager = pair(base, pictures, tmp_path)
    losses = [report.loss for report in run_steps(made)]
    assert made.warnings == ["not-compiled"]
    assert not is_compiled(made.adapted.family.denoiser)
    assert losses == [report.loss for report in run_steps(eager)]


def test_a_denoiser_without_repeated_blocks_is_compiled_whole() -> None:
    module = nn.Sequential(nn.Linear(2, 2))
    compile_module(module)
    assert is_compiled(module)
    make_eager(module)
    assert not is_compiled(module)
