"""Opens pickled weights (.ckpt, .pt, .bin) by torch's weights-only loader: nothing in them is executed."""

import pickle
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from engine.errors import UserError
from engine.tensorfiles.dtypes import NAMES
from engine.tensorfiles.header import Header, TensorInfo

MAX_DEPTH = 4


def load(path: Path) -> dict[str, torch.Tensor]:
    """Every tensor in the file by its dotted name; a `state_dict` level is left out. They are views of the
    mapped file: whoever keeps one takes `memory.own` of it.

    UserError when the file asks for more than tensors and plain containers (which could run code), is cut or
    broken, or is a zip that unpacks to more than it holds.
    """
    _refuse_bomb(path)
    try:
        # Mapped, so that a 4 GB checkpoint is not read twice; legacy files (before torch 1.6) cannot be
        # mapped.
        data = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except pickle.UnpicklingError as error:
        raise UserError(
            f"{path} is refused: it is a pickle that holds more than weights",
            why="opening it could run a program: " + str(error).strip().splitlines()[0][:200],
            fix="use the .safetensors file of the same model",
        ) from error
    except (
        RuntimeError,
        EOFError,
        ValueError,
        KeyError,
        IndexError,
        TypeError,
        AttributeError,
        OSError,
    ) as error:
        raise UserError(
            f"{path} cannot be read as a checkpoint",
            why=(str(error).strip().splitlines() or [type(error).__name__])[0][:200],
            fix="download the file again, or use the .safetensors file of the same model",
        ) from error
    if isinstance(data, Mapping) and isinstance(data.get("state_dict"), Mapping):
        data = data["state_dict"]
    return dict(_tensors(data, "", 0))


def read_table(path: Path) -> Header:
    """Names, dtypes and shapes, as `header.read_header` gives them for safetensors; places are unknown."""
    return table_of(load(path))


def table_of(tensors: Mapping[str, torch.Tensor]) -> Header:
    """The same for tensors that have been loaded."""
    return Header(
        {name: TensorInfo(_dtype(tensor), tuple(tensor.shape)) for name, tensor in tensors.items()}, {}
    )


def _dtype(tensor: torch.Tensor) -> str:
    return NAMES.get(tensor.dtype, str(tensor.dtype).removeprefix("torch.").upper())


def read_values(path: Path, name: str) -> npt.NDArray[np.float64]:
    """One tensor's values."""
    values: npt.NDArray[np.float64] = load(path)[name].double().numpy()
    return values


def _tensors(data: object, name: str, depth: int) -> Iterator[tuple[str, torch.Tensor]]:
    if isinstance(data, torch.Tensor):
        yield name, data
    elif depth < MAX_DEPTH and isinstance(data, Mapping):
        for key, value in data.items():
            yield from _tensors(value, f"{name}.{key}".removeprefix("."), depth + 1)
    elif depth < MAX_DEPTH and isinstance(data, (list, tuple)):
        for index, value in enumerate(data):
            yield from _tensors(value, f"{name}.{index}".removeprefix("."), depth + 1)


def _refuse_bomb(path: Path) -> None:
    if not zipfile.is_zipfile(path):
        return
    try:
        with zipfile.ZipFile(path) as archive:
            unpacked = sum(entry.file_size for entry in archive.infolist())
    except zipfile.BadZipFile as error:
        raise UserError(f"{path} is a broken zip", why=str(error), fix="download the file again") from error
    # torch stores its entries uncompressed; a little slack is for the entries' own headers.
    if unpacked > path.stat().st_size + 1024:
        raise UserError(
            f"{path} is refused", why="it unpacks to more bytes than it has, which torch never writes"
        )
