"""torch.compile for the denoiser, where the plan asks for it, and the way back when it fails."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn


def compile_error() -> type[Exception]:
    """What a forward pass raises when its module cannot be compiled.

    Asked for when something was raised: torch's compiler takes a second to import, also in a process that only exports.
    """
    from torch._dynamo.exc import TorchDynamoException

    return TorchDynamoException


def compile_module(module: nn.Module) -> None:
    """Compile in place, at the first forward pass; names, weights and hooks stay as they are.

    Where the module says which of its blocks repeat (diffusers' regional compilation), only these are: they share one
    piece of compiled code, which takes a fraction of the time that the whole takes.
    """
    model: Any = module
    if getattr(model, "_repeated_blocks", None):
        model.compile_repeated_blocks()
    else:
        module.compile()


def is_compiled(module: nn.Module) -> bool:
    """Whether the module or anything in it runs compiled."""
    return any(_call(part) is not None for part in module.modules())


def make_eager(module: nn.Module) -> None:
    """Undo `compile_module`."""
    for part in module.modules():
        if _call(part) is not None:
            part._compiled_call_impl = None


def gradient_error(
    module: nn.Module, parameters: Sequence[nn.Parameter], backward: Callable[[], None]
) -> float:
    """How far the compiled module's gradients lie from its own without compiling: the norm of the difference by
    the norm of those. `backward` makes them, the same each time; the module is compiled afterwards.

    torch 2.13's inductor was seen to give a UNet with a LoRA on a CPU the right loss and gradients that were 6 % off.
    """
    make_eager(module)
    plain = _gradients(parameters, backward)
    compile_module(module)
    ours = _gradients(parameters, backward)
    apart = torch.stack([(one - other).norm() for one, other in zip(ours, plain, strict=True)]).norm()
    return float(apart / torch.stack([each.norm() for each in plain]).norm())


def _gradients(parameters: Sequence[nn.Parameter], backward: Callable[[], None]) -> list[Tensor]:
    for value in parameters:
        value.grad = None
    backward()
    found = [torch.zeros_like(value) if value.grad is None else value.grad for value in parameters]
    for value in parameters:
        value.grad = None
    return found


def _call(module: nn.Module) -> Any:
    return getattr(module, "_compiled_call_impl", None)
