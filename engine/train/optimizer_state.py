"""All that an optimiser remembers, as tensors for safetensors and plain data for JSON, and back again."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from engine.methods.base import Trainable

TENSOR = "tensor"
"""The only key of what stands in plain data for a tensor: its name among the tensors."""
PLANNED = frozenset({"params", "lr", "initial_lr", "weight_decay"})
"""What a group is given anew at every start, by plan and step."""


@dataclass
class OptimizerState:
    """`numbers` by parameter; `groups` in the optimiser's own order, each with what differs from its defaults;
    `on_host` names tensors that lie on the CPU although their weights do not."""

    tensors: dict[str, Tensor] = field(default_factory=dict)
    numbers: dict[str, dict[str, Any]] = field(default_factory=dict)
    groups: list[dict[str, Any]] = field(default_factory=list)
    on_host: list[str] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """All but the tensors."""
        return {
            "optimizer": self.numbers,
            "optimizer_groups": self.groups,
            "optimizer_on_host": self.on_host,
        }

    @classmethod
    def from_json(cls, state: Mapping[str, Any], tensors: dict[str, Tensor]) -> OptimizerState:
        """The inverse of `to_json`; a checkpoint without groups leaves them as they are built."""
        groups, on_host = state.get("optimizer_groups", []), state.get("optimizer_on_host", [])
        return cls(tensors, state["optimizer"], groups, on_host)


def read(
    trainables: Sequence[Trainable],
    optimizer: torch.optim.Optimizer,
    copy: Callable[[Tensor], Tensor] | None = None,
) -> OptimizerState:
    """The optimiser's whole state by the trainables' names: its tensors as `copy` gives them, by default copies on the
    host."""
    found, copy = OptimizerState(), copy or _copy
    for item in trainables:
        for name, value in optimizer.state.get(item.parameter, {}).items():
            key = f"{item.name}|{name}"
            if isinstance(value, Tensor):
                found.tensors[key] = copy(value)
                if value.device.type == "cpu" and item.parameter.device.type != "cpu":
                    found.on_host.append(key)
            else:
                plain = _plain(value, f"in {key}", found.tensors, copy)
                found.numbers.setdefault(item.name, {})[name] = plain
    for index, group in enumerate(optimizer.param_groups):
        changed = {
            name: _plain(value, f"group {index}|{name}", found.tensors, copy)
            for name, value in group.items()
            if name not in PLANNED and _differs(value, optimizer.defaults, name)
        }
        found.groups.append(changed)
    return found


def write(state: OptimizerState, trainables: Sequence[Trainable], optimizer: torch.optim.Optimizer) -> None:
    """The inverse of `read`: tensors go to their weights' devices, but for those that lay on the host."""
    owners = {item.name: item.parameter for item in trainables}
    for name, values in state.numbers.items():
        device = owners[name].device
        optimizer.state[owners[name]].update(
            {field: _restored(value, state.tensors, device) for field, value in values.items()}
        )
    for key, value in state.tensors.items():
        name, _, field_name = key.rpartition("|")
        if name in owners:
            optimizer.state[owners[name]][field_name] = _placed(value, owners[name], key in state.on_host)
    for group, values in zip(optimizer.param_groups, state.groups, strict=False):
        device = group["params"][0].device
        group.update({field: _restored(value, state.tensors, device) for field, value in values.items()})


def _placed(value: Tensor, owner: Tensor, on_host: bool) -> Tensor:
    """On its weight's device, and in its weight's layout where it has the same shape, as optimisers make theirs: fused
    kernels go through memory, and would pair numbers of other places."""
    device = torch.device("cpu") if on_host else owner.device
    if value.shape != owner.shape:
        return value.to(device)
    return torch.empty_like(owner, dtype=value.dtype, device=device).copy_(value)


def _differs(value: Any, defaults: Mapping[str, Any], name: str) -> bool:
    if name not in defaults:
        return True
    default = defaults[name]
    if isinstance(value, Tensor) or isinstance(default, Tensor):
        return value is not default
    return bool(value != default)


def _copy(tensor: Tensor) -> Tensor:
    return tensor.detach().to("cpu", copy=True).contiguous()


def _plain(value: Any, key: str, tensors: dict[str, Tensor], copy: Callable[[Tensor], Tensor]) -> Any:
    """Plain data, with tensors put aside."""
    if isinstance(value, Tensor):
        tensors[key] = copy(value)
        return {TENSOR: key}
    if isinstance(value, dict):
        return {name: _plain(entry, f"{key}/{name}", tensors, copy) for name, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(entry, f"{key}/{index}", tensors, copy) for index, entry in enumerate(value)]
    return value


def _restored(value: Any, tensors: Mapping[str, Tensor], device: torch.device) -> Any:
    if isinstance(value, dict):
        if value.keys() == {TENSOR}:
            return tensors[value[TENSOR]].to(device)
        return {name: _restored(entry, tensors, device) for name, entry in value.items()}
    return [_restored(entry, tensors, device) for entry in value] if isinstance(value, list) else value
