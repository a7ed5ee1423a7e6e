"""Between a parameter and the form in which a single file stores it."""

import torch

from engine.models.keymap import THIRDS, Form


def unpack(stored: torch.Tensor, form: Form) -> torch.Tensor:
    """The diffusers parameter inside the stored tensor (a view where that is possible)."""
    if form == "conv":
        return stored.reshape(stored.shape[0], stored.shape[1]) if stored.dim() > 2 else stored
    if form == "transposed":
        return stored.t()
    if form in THIRDS:
        return stored.chunk(3, dim=0)[THIRDS.index(form)]
    return stored


def pack(parameters: dict[Form, torch.Tensor]) -> torch.Tensor:
    """The stored tensor for the parameters that share one key: one of them, or open_clip's three thirds."""
    if set(parameters) == set(THIRDS):
        return torch.cat([parameters[form] for form in THIRDS], dim=0)
    if len(parameters) != 1:
        raise ValueError(f"one stored tensor cannot hold the forms {sorted(parameters)}")
    form, tensor = next(iter(parameters.items()))
    if form == "conv":
        return tensor[:, :, None, None] if tensor.dim() == 2 else tensor
    return tensor.t().contiguous() if form == "transposed" else tensor
