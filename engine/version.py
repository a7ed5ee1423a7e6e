"""Versions of installed packages."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version


def package_version(name: str) -> str:
    """An installed package's version; "unknown" in a source tree that was never installed."""
    try:
        return version(name)
    except PackageNotFoundError:
        return "unknown"
