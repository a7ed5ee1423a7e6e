"""A hash of a module's weights, by which caches know for which model they were made."""

from __future__ import annotations

import hashlib

import torch
from torch import nn


def module_hash(module: nn.Module) -> str:
    """SHA-256 over names, dtypes, shapes and bytes of the weights; 16 hex digits."""
    digest = hashlib.sha256()
    for name, value in sorted(module.state_dict().items()):
        digest.update(f"{name}|{value.dtype}|{tuple(value.shape)}|".encode())
        flat = value.detach().cpu().contiguous().reshape(-1)
        digest.update(memoryview(flat.view(torch.uint8).numpy()) if flat.numel() else b"")
    return digest.hexdigest()[:16]
