"""Reads single tensors' values for detection, where names and shapes do not tell; needs numpy, no torch."""

from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from engine.tensorfiles.header import Header


def prediction_by_spread(
    path: Path, header: Header, name: str, own: str, limit: float, reasons: list[str]
) -> str:
    """v_prediction or epsilon for a file that does not say which: v where this tensor spreads further than `limit`.

    `own` is the tensor's name in the file, which may differ from its usual one."""
    values = _values(path, header, name, own)
    if values is None:
        reasons.append("epsilon: guessed, nothing in the file tells; set base.prediction when it is wrong")
        return "epsilon"
    spread = float(values.std())
    guess = "v_prediction" if spread > limit else "epsilon"
    reasons.append(
        f"{guess}: guessed from the spread of one bias ({spread:.3f}; above {limit} means v-prediction);"
        " put a .yaml beside the file or set base.prediction when it is wrong"
    )
    return guess


def _values(path: Path, header: Header, name: str, own: str) -> npt.NDArray[np.float64] | None:
    info = header.tensors.get(name)
    if info is None:
        return None
    if info.end == 0:
        values: npt.NDArray[np.float64] = import_module("engine.tensorfiles.pickles").read_values(path, own)
        return values
    with path.open("rb") as file:
        file.seek(info.start)
        raw = file.read(info.end - info.start)
    if info.dtype == "BF16":
        return (np.frombuffer(raw, "<u2").astype("<u4") << 16).view("<f4").astype(np.float64)
    kinds: dict[str, Any] = {"F16": "<f2", "F32": "<f4", "F64": "<f8"}
    return np.frombuffer(raw, kinds[info.dtype]).astype(np.float64) if info.dtype in kinds else None
