"""CLIP's real vocabulary, from the package that carries it on the Python index: none of it is committed here."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest


def fetch(folder: Path) -> Path:
    """open_clip_torch's wheel in `folder`; the test is skipped where the index does not answer."""
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pip",
            "download",
            "-q",
            "--no-deps",
            "-d",
            str(folder),
            "open_clip_torch==3.3.0",
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    found = list(folder.glob("*.whl"))
    if done.returncode != 0 or not found:
        pytest.skip(f"the package index does not answer: {done.stderr.strip()[-200:]}")
    return found[0]
