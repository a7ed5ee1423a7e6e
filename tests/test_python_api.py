"""The names of `import engine`, what they cost, and the examples, run as a reader of docs/python.md runs them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import engine

ROOT = Path(__file__).parents[1]


def _python(*arguments: str, home: Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=cwd,
        env={**os.environ, "SDTRAIN_HOME": str(home)},
        capture_output=True,
        text=True,
        timeout=600,
    )


def test_importing_engine_loads_nothing_else(home: Path, tmp_path: Path) -> None:
    code = (
        "import sys; import engine; print(*(m for m in sys.modules if m.partition('.')[0] in "
        "{'engine', 'torch', 'pydantic', 'PIL', 'numpy'}))"
    )
    assert _python("-c", code, home=home, cwd=tmp_path).stdout.split() == ["engine"]
    code = "import sys; from engine import load_plan, scan_data, check_plan, build_plan; print('torch' in sys.modules)"
    assert _python("-c", code, home=home, cwd=tmp_path).stdout.strip() == "False"


def test_every_name_is_there_typed_and_documented() -> None:
    for name in engine.__all__:
        assert getattr(engine, name).__name__ in {name, "check"}
    stub = (ROOT / "engine" / "__init__.pyi").read_text()
    assert sorted(re.findall(r"^from .* import .*\b(\w+)$", stub, re.M)) == sorted(engine.__all__)
    page = (ROOT / "docs" / "python.md").read_text()
    assert [name for name in engine.__all__ if f"`{name}" not in page] == []
    assert (ROOT / "engine" / "py.typed").is_file()


def test_a_wrong_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'open_trainings'"):
        getattr(engine, "open_trainings")  # noqa: B009 - mypy would refuse it


def test_the_script_trains_a_lora_and_goes_on(home: Path, tmp_path: Path) -> None:
    script = str(ROOT / "examples" / "train_lora.py")
    done = _python(script, "--steps", "3", home=home, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert re.findall(r"^step (\d+) loss", done.stdout, re.M) == ["1", "2", "3"]
    run = tmp_path / "lora-run"
    written = (path for path in (run / "export").rglob("*") if path.is_file())
    assert sorted(path.relative_to(run / "export").as_posix() for path in written) == [
        "diffusers/my-lora.safetensors",
        "my-lora.safetensors",
    ]
    assert (run / "preview.png").is_file()
    assert (run / "checkpoints" / "step-00000003" / "manifest.json").is_file()


def test_a_mistake_in_the_script_is_told_without_a_traceback(home: Path, tmp_path: Path) -> None:
    script = str(ROOT / "examples" / "train_lora.py")
    done = _python(script, str(tmp_path / "nowhere"), home=home, cwd=tmp_path)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert "data.path" in done.stderr and "fix: " in done.stderr
    assert not (tmp_path / "lora-run").exists()


def test_the_notebook_runs_from_top_to_bottom(home: Path, tmp_path: Path) -> None:
    done = _python(str(ROOT / "examples" / "notebook.py"), home=home, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "\nTrue\n" in done.stdout, "the second training came to the same numbers"
    assert "notebook.safetensors" in done.stdout
