"""Opens pickled weights (.ckpt, .pt, .bin) by torch's weights-only loader: nothing in them is executed."""

import pickle
import pickletools
import re
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt
import torch

from engine.errors import UserError
from engine.tensorfiles.dtypes import NAMES
from engine.tensorfiles.header import Header, TensorInfo
from engine.tensorfiles.inert import MAX_TYPES, inert

MAX_DEPTH = 4
MAX_NAME = 300
"""Letters of the longest name of a type that is looked up."""
_FIX = "download the file again, or use the .safetensors file of the same model"
_UNKNOWN = re.compile(r"(?:Unsupported global: GLOBAL|Unsupported class|unsupported GLOBAL) ([\w.<>]+)")


def load(path: Path) -> dict[str, torch.Tensor]:
    """Every tensor in the file by its dotted name; a `state_dict` level is left out. They may be views of the
    mapped file: whoever keeps one takes `memory.own` of it.

    Numbers of numpy and what training programs keep beside weights are passed over (see `inert`). UserError when
    the file asks for anything else (which could run code), is cut or broken, or is a zip that unpacks to more than
    it holds.
    """
    return tensors_of(load_whole(path))


def load_whole(path: Path) -> object:
    """All that the file holds, read as `load` reads it."""
    _refuse_cut(path)
    _refuse_bomb(path)
    _refuse_long_names(path)
    return _load(path)


def tensors_of(data: object) -> dict[str, torch.Tensor]:
    """Its tensors by their dotted names; a `state_dict` level is left out."""
    if isinstance(data, Mapping) and isinstance(data.get("state_dict"), Mapping):
        data = data["state_dict"]
    return dict(_tensors(data, "", 0))


def facts_of(data: object) -> dict[str, Any]:
    """The numbers, texts, truth values and lists of these that stand beside the tensors of a pickled dict."""
    if not isinstance(data, Mapping):
        return {}
    return {str(key): value for key, value in data.items() if _is_fact(value)}


def _is_fact(value: object) -> bool:
    if isinstance(value, list | tuple):
        return all(isinstance(each, bool | int | float | str) for each in value)
    return value is None or isinstance(value, bool | int | float | str)


def _load(path: Path) -> object:
    stubs: list[Callable[..., Any] | tuple[Callable[..., Any], str]] = []
    names: set[str] = set()
    for _ in range(MAX_TYPES):
        try:
            with torch.serialization.safe_globals(stubs):
                return _read(path)
        except pickle.UnpicklingError as error:
            found = _UNKNOWN.search(str(error))
            name = found[1] if found else ""
            name = f"builtins.{name}" if name and "." not in name else name  # torch leaves that out
            if name in names or not (stub := inert(name)):
                raise _more_than_weights(path, name, error) from error
            names.add(name)
            stubs.append((stub, name))
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
            raise _unreadable(path, error) from error
    raise UserError(
        f"{path} is refused: it is a pickle that holds more than weights",
        why=f"it names over {MAX_TYPES} kinds of things that are no tensors",
        fix="use the .safetensors file of the same model",
    )


def _read(path: Path) -> object:
    if path.suffix == ".safetensors":  # torch goes by such a name, whatever is in the file
        with path.open("rb") as file:
            return torch.load(file, map_location="cpu", weights_only=True)
    # Mapped, so that a 4 GB checkpoint is not read twice; legacy files (before torch 1.6) cannot be mapped.
    return torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))


def _more_than_weights(path: Path, name: str, error: Exception) -> UserError:
    if not name and "truncated" in str(error):
        return _unreadable(path, error)
    what = f"it holds a {name}" if name else _first_line(error)
    return UserError(
        f"{path} is refused: it is a pickle that holds more than weights",
        why=f"{what}, and opening that could run a program",
        fix="use the .safetensors file of the same model",
    )


def _unreadable(path: Path, error: Exception) -> UserError:
    return UserError(f"{path} cannot be read as a checkpoint", why=_first_line(error), fix=_FIX)


def _first_line(error: Exception) -> str:
    """One clean line of what a library says: no colours, no advice behind it."""
    text = str(error)
    if found := re.search(
        r"WeightsUnpickler error:\s*(.+)", text
    ):  # before it stands advice to open it anyhow
        text = found[1]
    text = re.sub(r"\x1b\[[0-9;]*[A-Za-z]", "", text).strip()
    line = "".join(char for char in (text.splitlines() or [""])[0] if char.isprintable())
    return line[:200] or type(error).__name__


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


def _refuse_cut(path: Path) -> None:
    """torch takes a zip without its end for an older format, and says nothing that helps."""
    with path.open("rb") as file:
        if file.read(4) == b"PK\x03\x04" and not zipfile.is_zipfile(path):
            raise UserError(
                f"{path} is cut short",
                why="it is a zip without its table of contents, which stands at the end",
                fix="the download or copy did not finish: fetch the file again",
            )


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


def _refuse_long_names(path: Path) -> None:
    """torch looks for a way out in a name's text by a pattern whose time grows with the square of its length: for
    100,000 letters over a minute."""
    try:
        with ExitStack() as stack:
            file: IO[bytes] = stack.enter_context(path.open("rb"))
            if zipfile.is_zipfile(file):
                archive = stack.enter_context(zipfile.ZipFile(file))
                name = next(each for each in archive.namelist() if each.endswith("data.pkl"))
                file = stack.enter_context(archive.open(name))
            else:
                file.seek(0)
            names = (value for code, value, _ in pickletools.genops(file) if code.name in ("GLOBAL", "INST"))
            long = next((str(value) for value in names if len(str(value)) > MAX_NAME), "")
    except (ValueError, StopIteration, OSError, zipfile.BadZipFile, NotImplementedError, MemoryError):
        return  # torch says what is wrong with it
    if long:
        raise UserError(
            f"{path} is refused: it is a pickle that holds more than weights",
            why=f"it holds a {long[:60]}... of {len(long):,} letters, and opening that could run a program",
            fix="use the .safetensors file of the same model",
        )
