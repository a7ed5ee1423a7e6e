"""Stand-ins for what training programs pickle beside weights: a name is kept apart, and nothing of it is imported."""

from __future__ import annotations

import re
from typing import Any

MAX_TYPES = 64
"""So many kinds of things that are no tensors may a file name."""

# numpy's scalars, dtypes and arrays; lightning's callbacks and hyperparameters; plain records of settings.
_HARMLESS = re.compile(
    r"numpy\.(_?core\.multiarray\.(scalar|_reconstruct)|ndarray|dtype|dtypes\.\w+"
    r"|u?int\d*|float\d*|bool_?|str_|bytes_)"
    r"|(pytorch_lightning|lightning|lightning_fabric|lightning_utilities)(\.\w+)+"
    r"|omegaconf(\.\w+)+"
    r"|argparse\.Namespace"
    r"|pathlib\.(Pure)?(Posix|Windows)?Path"
    r"|collections\.(defaultdict|deque)"
    r"|typing\.(Any|Union|Optional|List|Dict)"
    r"|builtins\.(int|float|complex|str|bytes|bool|list|tuple|dict|frozenset|range|slice|object)"
)


def inert(name: str) -> type | None:
    """A class of its own under that name, which takes whatever it is given and does nothing; none where the name is
    not on the list of what is known to stand in checkpoints."""
    if not _HARMLESS.fullmatch(name):
        return None
    module, _, own = name.rpartition(".")
    plain = own.lower()
    kind = _Table if plain.endswith("dict") else _Row if plain in ("list", "deque") else _Inert
    return type(own, (kind,), {"__module__": module})


class _Table:
    """torch's loader puts entries into plain tables only, so that is what comes of it."""

    def __new__(cls, *given: Any, **named: Any) -> Any:
        return {}


class _Row:
    def __new__(cls, *given: Any, **named: Any) -> Any:
        return []


class _Inert:
    def __new__(cls, *given: Any, **named: Any) -> _Inert:
        return super().__new__(cls)

    def __init__(self, *given: Any, **named: Any) -> None:
        """Whatever the real one takes."""

    def __setstate__(self, state: Any) -> None:
        """No state is kept."""
