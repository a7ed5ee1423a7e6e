"""Changes of the source that tests must notice are made where code is, one at a time, and tried for real."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tools.mutants import mutants, sample
from tools.mutation import ROOT

CASES = [
    ("a = b < c", {"(b <= c)"}),
    ("a = b is not None", {"(b is None)"}),
    ("a = b and c", {"(b or c)"}),
    ("a = b + c", {"(b - c)"}),
    ("a = not b", {"(b)"}),
    ("a = 4", {"(5)", "(3)"}),
    ("a = True", {"(False)"}),
    ("a.b = c", {"pass"}),
    ("call(a)", {"pass"}),
    ("def f():\n    return a", {"return None"}),
    ("def f():\n    return None", set()),
    ("if a:\n    b", {"(not a)"}),
    ("if a == b:\n    c", {"(a != b)"}),
    ("a = b if c else d", {"(not c)"}),
    ("a: Literal[3] = b", set()),
    ("raise Wrong(a + b)", set()),
    ("a = f'{b + c}'", set()),
]


@pytest.mark.parametrize(("source", "expected"), CASES)
def test_each_kind_of_change_is_made_in_its_place(source: str, expected: set[str]) -> None:
    found = mutants(source.encode())
    assert {mutant.new for mutant in found} == expected
    for mutant in found:
        compile(source[: mutant.start] + mutant.new + source[mutant.end :], "changed", "exec")


def test_places_are_bytes_so_that_other_letters_shift_nothing() -> None:
    source = 'a = "é", b < c  # ü'.encode()
    (mutant,) = mutants(source)
    assert (
        source[: mutant.start] + mutant.new.encode() + source[mutant.end :]
        == 'a = "é", (b <= c)  # ü'.encode()
    )


def test_a_seed_draws_the_same_changes() -> None:
    drawn = sample(ROOT, "a", ["tools/*.py"], 8, seed=1)
    assert len(set(drawn)) == 8
    assert drawn == sample(ROOT, "a", ["tools/*.py"], 8, seed=1)
    assert drawn != sample(ROOT, "a", ["tools/*.py"], 8, seed=2)


def test_what_no_test_notices_is_named(tmp_path: Path) -> None:
    (tmp_path / "half.py").write_text("def half(a):\n    return a / 2\n\n\ndef limit():\n    return 4\n")
    (tmp_path / "test_half.py").write_text(
        "import half\n\n\ndef test_half():\n    assert half.half(4) == 2\n"
    )
    table = '[tool.mutation]\npreload = ["pytest"]\n[tool.mutation.parts.half]\n'
    table += 'source = ["half.py"]\ntests = ["test_half.py"]\n'
    (tmp_path / "pyproject.toml").write_text(table)
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    done = subprocess.run(
        [sys.executable, "-m", "tools.mutation", "--root", str(tmp_path), "--jobs", "1"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    lines = done.stdout.splitlines()
    assert done.returncode == 0, done.stderr
    assert lines[:3] == [
        "survived: half.py:6: return 4  ->  return None",
        "survived: half.py:6: 4  ->  (3)",
        "survived: half.py:6: 4  ->  (5)",
    ]
    assert lines[-1] == "| all | 7 | 4 | 57% |"
    assert (tmp_path / "half.py").read_text().endswith("return 4\n")
