"""Picture formats beyond Pillow's usual ones: AVIF, which Pillow reads itself, and those of the extra `pictures`.

A decoder is imported when the first such file is met.
"""

from __future__ import annotations

from functools import cache
from importlib import import_module
from importlib.util import find_spec

from engine.installing import pip_install

SUFFIXES = frozenset((".avif", ".heic", ".heif", ".hif", ".jxl"))
_ISO = {b"avif": "AVIF", **dict.fromkeys((b"heic", b"heix", b"heim", b"heis", b"mif1"), "HEIF")}
_MODULES = {"AVIF": "PIL.AvifImagePlugin", "HEIF": "pillow_heif", "JXL": "pillow_jxl"}


def format_of(start: bytes) -> str:
    """AVIF, HEIF or JXL by a file's first bytes; empty for all else."""
    if start.startswith((b"\xff\x0a", b"\x00\x00\x00\x0cJXL ")):
        return "JXL"
    return _ISO.get(start[8:12], "") if start[4:8] == b"ftyp" else ""


def can_read(name: str) -> bool:
    """Is the format's decoder there, and does Pillow know it from here on?"""
    return _registered(name)


def how_to_read(name: str) -> str:
    """What to do about a picture in a format that cannot be read."""
    if name == "AVIF":
        return f"{pip_install('--upgrade', 'pillow')}, or convert it to PNG or JPEG"
    return f"{pip_install('sdtrain-tui[pictures]')}, or convert it to PNG or JPEG"


@cache
def _registered(name: str) -> bool:
    module = _MODULES[name]
    if find_spec(module) is None:
        return False
    try:
        found = import_module(module)
    except (ImportError, OSError):
        return False  # built for another system, or a library is missing
    if name == "HEIF":
        # Thumbnails and depth pictures inside are not wanted; rotation is applied by the library itself.
        found.register_heif_opener(thumbnails=False)
    return True
