"""Weights in memory of their own: aligned as torch allocates it, and never a view of a mapped file.

A mapped tensor lies where the file's header happens to end. oneDNN takes other kernels for memory that is not
aligned, so that the last bits of an answer would depend on the length of the header; and a file that is replaced or
cut while it is mapped ends the process with SIGBUS.
"""

from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor, nn

from engine.errors import UserError
from engine.tensorfiles.dtypes import DTYPES
from engine.tensorfiles.header import read_header

M = TypeVar("M", bound=nn.Module)


def own(tensor: Tensor) -> Tensor:
    """The same values, contiguous, in memory of their own."""
    return tensor.clone(memory_format=torch.contiguous_format)


def own_module(module: M) -> M:
    """The module itself, with every parameter and buffer in memory of its own; shared ones stay shared."""
    for tensor in (*module.parameters(), *module.buffers()):
        tensor.data = own(tensor.data)
    return module


class TensorFile:
    """A safetensors file, opened once; a tensor is read into memory of its own when it is asked for."""

    def __init__(self, path: Path) -> None:
        """UserError, as from `read_header`, for a file that is not sound."""
        self.path = path
        self.header = read_header(path)
        self._file = path.open("rb")

    def read(self, name: str) -> Tensor:
        """One tensor, on the CPU; UserError where its bytes have gone since the header was read."""
        info = self.header.tensors[name]
        if info.dtype not in DTYPES:
            raise UserError(
                f"{self.path}: {name} is stored as {info.dtype}",
                "sdtrain cannot compute with that dtype",
                "get the file in fp16, bf16 or fp32",
            )
        tensor = torch.empty(info.shape, dtype=DTYPES[info.dtype])
        self._file.seek(info.start)
        if self._file.readinto(tensor.reshape(-1).view(torch.uint8).numpy().data) != info.end - info.start:
            raise UserError(
                f"{self.path} is cut short",
                f"it ends inside {name}: it was changed while it was read",
                "start again when the file is whole",
            )
        return tensor

    def close(self) -> None:
        """Nothing can be read after this."""
        self._file.close()


def load_tensors(path: Path) -> dict[str, Tensor]:
    """Every tensor of a safetensors file. UserError for a file that is not sound, OSError for the disk's failures."""
    file = TensorFile(path)
    try:
        return {name: file.read(name) for name in file.header.tensors}
    finally:
        file.close()
