"""Another package adds a method by an entry point of the group `sdtrain.methods`; a broken one is one line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.cli.conftest import Done
from tests.support.pictures import write_pictures

ROOT = Path(__file__).resolve().parents[2]

DECLARATION = '''
from dataclasses import replace

from engine.plan.fields import option
from engine.plan.methods.lora import SPEC as LORA, LoraOptions


class CalmOptions(LoraOptions):
    """Options of method calm_lora."""

    calm: float = option(0.5, "factor of the learning rate", gt=0, le=1)


SPEC = replace(
    LORA,
    name="calm_lora",
    title="Calm LoRA",
    options=CalmOptions,
    behaviour="calm.behaviour:Calm",
    like="lora",
    flags={},
)
'''
BEHAVIOUR = """
from dataclasses import replace

from engine.methods.base import options_of
from engine.methods.lora import Lora

from calm import CalmOptions


class Calm(Lora):
    @classmethod
    def from_plan(cls, plan):
        options = options_of(plan, CalmOptions)
        return cls(options, plan.train.learning_rate * options.calm, plan.seed)

    def prepare(self, family):
        return [replace(item, learning_rate=self.learning_rate) for item in super().prepare(family)]
"""


class Program:
    """`sdtrain` in an environment of its own that has this one's libraries and what a test installs."""

    def __init__(self, folder: Path, home: Path) -> None:
        self.folder = folder
        venv = folder / "venv"
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(venv)], check=True)
        self.python = venv / "bin" / "python"
        self.site = next((venv / "lib").glob("python*")) / "site-packages"
        libraries = [str(ROOT), *(path for path in sys.path if path.endswith("site-packages"))]
        (self.site / "libraries.pth").write_text("\n".join(libraries) + "\n")
        clean = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        self.env = {
            **clean,
            "SDTRAIN_HOME": str(home),
            "OMP_NUM_THREADS": "1",
            "PYTHONDONTWRITEBYTECODE": "1",
        }

    def install(self, name: str, files: dict[str, str], point: str) -> None:
        """A package as an installer leaves it: modules and metadata."""
        for path, text in files.items():
            (self.site / path).parent.mkdir(exist_ok=True)
            (self.site / path).write_text(text)
        about = self.site / f"{name}-1.0.dist-info"
        about.mkdir()
        (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        (about / "entry_points.txt").write_text(f"[sdtrain.methods]\n{point}\n")

    def __call__(self, *words: str) -> Done:
        done = subprocess.run(
            [str(self.python), "-m", "sdtrain_tui", *words],
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            cwd=self.folder,
            env=self.env,
            check=False,
            timeout=300,
        )
        assert "Traceback" not in done.stderr, done.stderr
        return Done(done.returncode, done.stdout, done.stderr)


@pytest.fixture
def program(tmp_path: Path, home: Path) -> Program:
    return Program(tmp_path, home)


def test_an_installed_package_adds_a_method(program: Program, tmp_path: Path) -> None:
    files = {"calm/__init__.py": DECLARATION, "calm/behaviour.py": BEHAVIOUR}
    program.install("calm", files, "calm_lora = calm:SPEC")
    pictures = write_pictures(tmp_path / "pictures", count=4)
    asked = ["--method", "calm_lora", "--base", "builtin:tiny", "--data", str(pictures), "--steps", "3"]
    sets = [
        "calm_lora.rank=4",
        "calm_lora.calm=0.25",
        "samples.every=0",
        "train.batch_size=2",
        "data.repeats=1",
    ]
    words = [word for item in sets for word in ("--set", item)]
    made = program("new", *asked, *words, "-o", "calm.toml", "--json")
    assert made.code == 0, made.err
    derived = {item["key"]: item for item in made.json["derived"]}
    assert derived["calm_lora.alpha"]["value"] == 4.0 and "preset" in derived["train.learning_rate"]["why"]
    text = (tmp_path / "calm.toml").read_text()
    assert "[calm_lora]" in text and "calm = 0.25" in text and "[lora]" not in text

    assert program("check", "calm.toml").code == 0
    wrong = program("check", "calm.toml", "--set", "calm_lora.calm=2")
    assert wrong.code == 2 and "calm_lora.calm" in wrong.err + wrong.out
    ran = program("run", "calm.toml", "--plain")
    assert ran.code == 0, ran.out + ran.err
    shown = json.loads(program("list", "--json").out)
    assert [run["state"] for run in shown] == ["finished"]
    run = next((Path(program.env["SDTRAIN_HOME"]) / "runs").iterdir())
    rates = [
        json.loads(line)["lr"] for line in (run / "events.jsonl").read_text().splitlines() if '"lr"' in line
    ]
    asked_rate = tomllib.loads(text)["train"]["learning_rate"]
    assert rates and all(rate == pytest.approx(0.25 * asked_rate) for rate in rates)
    assert list(run.rglob("*.safetensors"))


@pytest.mark.parametrize(
    ("source", "why"),
    [
        ("import nothing_like_this", "ModuleNotFoundError"),
        ("1 / 0", "ZeroDivisionError"),
        ("raise SystemExit(3)", "SystemExit"),
        ("SPEC = 5", "not a MethodSpec"),
        ("from engine.plan.methods.full import SPEC", "already"),
    ],
)
def test_a_broken_one_is_a_line_and_nothing_more(
    source: str, why: str, program: Program, tmp_path: Path
) -> None:
    program.install("sad", {"sad.py": source}, "sad = sad:SPEC")
    pictures = write_pictures(tmp_path / "pictures", count=4)
    made = program("new", "--base", "builtin:tiny", "--data", str(pictures), "-o", "plan.toml")
    assert made.code == 0, made.err
    told = [line for line in made.err.splitlines() if "'sad'" in line]
    assert len(told) == 1 and why in told[0] and "package sad" in told[0]
    assert "sad" not in program("list").err


def test_a_list_of_runs_looks_for_no_methods(program: Program) -> None:
    program.install("sad", {"sad.py": "raise SystemExit('loaded')"}, "sad = sad:SPEC")
    done = program("list")
    assert done.code == 0 and not done.err
