"""`sdtrain demo METHOD` for every method, two steps long: pictures, a plan, a run, files, and before beside after."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from PIL import Image

from engine.plan.methods import METHODS
from tests.cli.conftest import Cli

pytest.importorskip("torch")


@pytest.mark.parametrize("method", METHODS)
def test_the_demo_of_a_method_ends_with_its_files(method: str, cli: Cli, home: Path, tmp_path: Path) -> None:
    done = cli("demo", method, "--steps", "2", "--dir", str(tmp_path / "demo"))
    assert done.code == 0, done.err
    assert "finished at step 2 of 2" in done.out
    exported = re.findall(r"^[a-z0-9_]+: (/.+) \([\d.]+ [KMG]iB\)$", done.out, re.MULTILINE)
    assert exported and all(Path(path).exists() for path in exported), done.out
    (sheet,) = re.findall(r"^before and after: (.+)$", done.out, re.MULTILINE)
    with Image.open(sheet) as picture:
        rows = 3 if "condition_path" in (tmp_path / "demo" / "plan.toml").read_text() else 2
        assert picture.height == 6 + rows * (128 + 6)


def test_an_unknown_demo_names_those_that_exist(cli: Cli, tmp_path: Path) -> None:
    done = cli("demo", "dreamboth", "--dir", str(tmp_path / "demo"))
    assert done.code == 2
    assert "dreambooth" in done.err and "Traceback" not in done.err
