"""Everything but training and export works where torch is not installed."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.conftest import Cli, FakeEngine, fabricate


def test_planning_works(bare_cli: Cli, pictures: Path) -> None:
    words = ["new", "--base", "builtin:tiny", "--data", str(pictures), "-o", "my.toml"]
    assert bare_cli(*words).code == 0
    assert bare_cli("check", "my.toml").code == 0
    assert bare_cli("estimate", "my.toml").code == 0
    assert bare_cli("data", str(pictures)).code == 0
    assert bare_cli("schema").code == 0


def test_watching_and_asking_work(bare_cli: Cli, engine: FakeEngine) -> None:
    assert bare_cli("list", "--json").json[0]["name"] == "living"
    assert bare_cli("show", "living").code == 0
    assert bare_cli("save", "living").code == 0
    assert bare_cli("stop", "living").code == 0
    assert bare_cli("attach", "living").code == 130


def test_doctor_works(bare_cli: Cli) -> None:
    assert bare_cli("doctor").code == 0


@pytest.mark.parametrize(
    "words", [("run", "PLAN"), ("demo",), ("export", "gone", "--format", "kohya"), ("resume", "gone")]
)
def test_what_needs_torch_says_so(
    bare_cli: Cli, plan_file: Path, pictures: Path, words: tuple[str, ...]
) -> None:
    fabricate("gone", pictures, kind="stopped", step=4, reason="")
    done = bare_cli(*(str(plan_file) if word == "PLAN" else word for word in words))
    assert done.code == 2
    assert "torch is not installed" in done.err and "fix:" in done.err
