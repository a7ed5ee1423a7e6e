"""`sdtrain demo METHOD`, two steps long: pictures, a plan, a run, files, and before beside after."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from engine.plan.methods import DEFAULT_METHOD, METHODS
from tests.cli.conftest import Cli

pytest.importorskip("torch")


def _assert_before_above_after(sheet: Path, conditioned: bool) -> None:
    with Image.open(sheet) as picture:
        assert picture.height == 6 + (3 if conditioned else 2) * (128 + 6)


@pytest.mark.parametrize(
    "method",
    [name if name == DEFAULT_METHOD else pytest.param(name, marks=pytest.mark.soak) for name in METHODS],
)
def test_the_demo_of_a_method_ends_with_its_files(method: str, cli: Cli, home: Path, tmp_path: Path) -> None:
    done = cli("demo", method, "--steps", "2", "--dir", str(tmp_path / "demo"))
    assert done.code == 0, done.err
    assert "finished at step 2 of 2" in done.out
    exported = re.findall(r"^[a-z0-9_]+: (/.+) \([\d.]+ [KMG]iB\)$", done.out, re.MULTILINE)
    assert exported and all(Path(path).exists() for path in exported), done.out
    (sheet,) = re.findall(r"^before and after: (.+)$", done.out, re.MULTILINE)
    _assert_before_above_after(Path(sheet), "condition_path" in (tmp_path / "demo" / "plan.toml").read_text())


@pytest.mark.parametrize("method", METHODS)
def test_what_the_demo_of_a_method_runs_ends_with_its_files(
    method: str, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The command's own steps within this process, with few pictures and short previews."""
    from engine.demo.prepare import prepare
    from engine.demo.show import before_after
    from engine.planning.build import build, gather
    from engine.planning.check import check, errors_of
    from tests.support.runs import new_run, work_to_end

    spec = METHODS[method]
    assert spec.lesson is not None
    monkeypatch.setitem(METHODS, method, replace(spec, lesson=replace(spec.lesson, pictures=8)))
    answers = prepare(tmp_path / "demo", method) | {"train.steps": 2, "samples.steps": 2}
    answers |= {"data.class_count": 4} if answers.get("data.class_prompt") else {}
    plan = build(answers, gather(answers)).plan
    assert errors_of(check(plan)) == []
    run = new_run(plan)
    exports = work_to_end(run).exports
    assert [done.format for done in exports] == list(plan.export_formats)
    assert all((run.path / done.path).exists() for done in exports)
    _assert_before_above_after(before_after(run), any(key.endswith(".condition_path") for key in answers))


def test_an_unknown_demo_names_those_that_exist(cli: Cli, tmp_path: Path) -> None:
    done = cli("demo", "dreamboth", "--dir", str(tmp_path / "demo"))
    assert done.code == 2
    assert "dreambooth" in done.err and "Traceback" not in done.err
