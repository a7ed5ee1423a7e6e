"""Changes the source on purpose, one small change at a time, and asks the tests of that file whether they notice.

`[tool.mutation]` in pyproject.toml names for each group of source files the tests that must notice. The changes of a
group are a sample drawn with a seed, so the same source gives the same changes. Each is made in a copy of the working
tree and tried in a forked process, which has pytest and torch loaded already. A change that no test breaks has
survived: either a test is missing, or the change makes no difference.
"""

from __future__ import annotations

import argparse
import ast
import copy
import getpass
import importlib
import json
import multiprocessing
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

import psutil

ROOT: Final = Path(__file__).resolve().parents[1]
_PRELOADED: Final = (
    "pytest",
    "hypothesis.strategies",
    "numpy",
    "pydantic",
    "peft",
    "safetensors.torch",
    "diffusers.models.unets.unet_2d_condition",
    "diffusers.models.autoencoders.autoencoder_kl",
    "diffusers.schedulers.scheduling_ddim",
    "transformers.models.clip.modeling_clip",
)
_SWAPS: Final[dict[type[ast.AST], type[ast.AST]]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
    ast.And: ast.Or,
    ast.Or: ast.And,
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.Mult,
    ast.Pow: ast.Mult,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
    ast.LShift: ast.RShift,
    ast.RShift: ast.LShift,
}
_MARK: Final = "SDTRAIN_MUTATION_COPY"


@dataclass(frozen=True)
class Mutant:
    """One change: the bytes `start` to `end` of `file` become `new`."""

    group: str
    file: str
    line: int
    start: int
    end: int
    old: str
    new: str
    caught: bool = False

    def __str__(self) -> str:
        old, new = (" ".join(text.split())[:90] for text in (self.old, self.new))
        return f"{self.file}:{self.line}: {old}  ->  {new}"


def mutants(source: bytes, file: str = "", group: str = "") -> list[Mutant]:
    """Every change that is known for this source, in the order of its lines."""
    starts = [0]
    for line in source.splitlines(keepends=True):
        starts.append(starts[-1] + len(line))
    found = []
    for node, changed in _changes(ast.parse(source)):
        start = starts[node.lineno - 1] + node.col_offset
        end = starts[(node.end_lineno or 0) - 1] + (node.end_col_offset or 0)
        new = ast.unparse(ast.fix_missing_locations(changed))
        if isinstance(node, ast.expr):
            new = f"({new})"
        found.append(Mutant(group, file, node.lineno, start, end, source[start:end].decode(), new))
    return sorted(found, key=lambda mutant: (mutant.start, mutant.end, mutant.new))


def _changes(node: ast.AST) -> Iterator[tuple[Any, ast.AST]]:
    """Pairs of a node below `node` and what takes its place; what says only types or messages is left alone."""
    for name, value in ast.iter_fields(node):
        if name in ("annotation", "returns", "decorator_list", "bases"):
            continue
        for child in value if isinstance(value, list) else [value]:
            # Python before 3.12 gives no places inside of an f-string.
            if isinstance(child, ast.AST) and not isinstance(child, (ast.JoinedStr, ast.Raise, ast.Assert)):
                yield from ((child, changed) for changed in _replacements(child))
                if isinstance(child, (ast.If, ast.While, ast.IfExp)) and not _has_opposite(child.test):
                    yield child.test, ast.UnaryOp(ast.Not(), child.test)
                yield from _changes(child)


def _has_opposite(test: ast.expr) -> bool:
    """Whether a change of its operator negates it already."""
    if isinstance(test, ast.Compare):
        return isinstance(test.ops[0], (ast.Eq, ast.NotEq, ast.Is, ast.IsNot, ast.In, ast.NotIn))
    return isinstance(test, ast.UnaryOp)


def _replacements(node: ast.AST) -> Iterator[ast.AST]:
    match node:
        case ast.Compare():
            for place, operator in enumerate(node.ops):
                yield _with(node, ops=[*node.ops[:place], _SWAPS[type(operator)](), *node.ops[place + 1 :]])
        case ast.BoolOp(op=operator) | ast.BinOp(op=operator) if type(operator) in _SWAPS:
            yield _with(node, op=_SWAPS[type(operator)]())
        case ast.UnaryOp(op=ast.Not() | ast.USub()):
            yield node.operand
        case ast.Constant(value=bool()):
            yield ast.Constant(not node.value)
        case ast.Constant(value=int() | float() as number):
            yield from (ast.Constant(number + 1), ast.Constant(number - 1))
        case ast.Return(value=ast.expr() as value) if ast.unparse(value) != "None":
            yield ast.Return(ast.Constant(None))
        case ast.Expr(value=ast.Call()):
            yield ast.Pass()
        case ast.Assign(targets=[ast.Attribute(), *_]):
            yield ast.Pass()


def _with(node: ast.AST, **fields: Any) -> ast.AST:
    changed = copy.copy(node)
    for name, value in fields.items():
        setattr(changed, name, value)
    return changed


def sample(root: Path, group: str, patterns: list[str], count: int, seed: int) -> list[Mutant]:
    """`count` changes of the files that `patterns` name, drawn with `seed`; all where there are no more."""
    files = sorted({path for pattern in patterns for path in root.glob(pattern)})
    found = [
        mutant
        for path in files
        for mutant in mutants(path.read_bytes(), path.relative_to(root).as_posix(), group)
    ]
    drawn = random.Random(f"{seed} {group}").sample(found, min(count, len(found)))
    return sorted(drawn, key=lambda mutant: (mutant.file, mutant.start))


class Tree:
    """A copy of the working tree in which one change at a time is made and tried."""

    def __init__(self, root: Path, folder: Path) -> None:
        self.path = folder / "tree"
        self._folder = folder
        self._clock = int(time.time())
        named = subprocess.run(
            ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
            cwd=root,
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        for name in filter(None, named.split("\0")):
            if (root / name).is_file():
                (self.path / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(root / name, self.path / name)

    def notices(self, mutant: Mutant, tests: list[str], limit_s: float) -> bool:
        """Whether a test fails, or the tests take longer than `limit_s`, under this change."""
        file = self.path / mutant.file
        source = file.read_bytes()
        try:
            self._write(file, source[: mutant.start] + mutant.new.encode() + source[mutant.end :])
            return self.code(tests, limit_s) != 0
        finally:
            self._write(file, source)

    def _write(self, file: Path, content: bytes) -> None:
        file.write_bytes(content)
        # Compiled files are kept by size and whole seconds of the source's time: each change gets a second of its own.
        self._clock += 1
        os.utime(file, (self._clock, self._clock))

    def code(self, tests: list[str], limit_s: float) -> int | None:
        """The exit code of pytest in a forked process; None where it took longer than `limit_s`."""
        pid = os.fork()
        if not pid:
            code = 1
            try:
                code = self._pytest(tests)
            finally:
                os._exit(code)
        deadline = time.monotonic() + limit_s
        try:
            while True:
                done, status = os.waitpid(pid, os.WNOHANG)
                if done:
                    return os.waitstatus_to_exitcode(status)
                if time.monotonic() > deadline:
                    os.kill(pid, signal.SIGKILL)
                    os.waitpid(pid, 0)
                    return None
                time.sleep(0.02)
        finally:
            self._end_what_is_left()

    def _pytest(self, tests: list[str]) -> int:
        import pytest

        with (self._folder / "output").open("wb") as output:
            os.dup2(output.fileno(), 1)
            os.dup2(output.fileno(), 2)
        os.environ[_MARK] = str(self.path)
        os.environ["OMP_NUM_THREADS"] = "1"
        os.environ["TMPDIR"] = tempfile.tempdir = str(self._folder)
        os.chdir(self.path)
        sys.path[:] = [str(self.path), *(entry for entry in sys.path if entry not in ("", str(ROOT)))]
        for name in [name for name in sys.modules if name.partition(".")[0] in ("tools", "tests", "engine")]:
            del sys.modules[name]
        return int(pytest.main(["-q", "-x", "-p", "no:cacheprovider", "-p", "no:xdist", *tests]))

    def _end_what_is_left(self) -> None:
        """Processes that tests started and a change kept from ending."""
        for process in psutil.process_iter():
            try:
                if process.environ().get(_MARK) == str(self.path):
                    process.kill()
            except psutil.Error:
                continue
        shutil.rmtree(self._folder / f"pytest-of-{getpass.getuser()}", ignore_errors=True)


_tree: Tree


def _open(root: Path, folder: Path) -> None:
    global _tree
    _tree = Tree(root, Path(tempfile.mkdtemp(dir=folder)))


def _time(tests: list[str]) -> float:
    """How long the tests take without a change; RuntimeError where they fail."""
    before = time.monotonic()
    if _tree.code(tests, 3600) != 0:
        raise RuntimeError(f"without a change, these fail: pytest {' '.join(tests)}")
    return time.monotonic() - before


def _try(mutant: Mutant, tests: list[str], limit_s: float) -> Mutant:
    return replace(mutant, caught=_tree.notices(mutant, tests, limit_s))


def table(tried: list[Mutant]) -> str:
    """One line a group: how many changes, how many were caught, and their share."""
    groups: dict[str, list[bool]] = {}
    for mutant in tried:
        groups.setdefault(mutant.group, []).append(mutant.caught)
    groups["all"] = [mutant.caught for mutant in tried]
    lines = ["| part | changes | caught | share |", "|---|---:|---:|---:|"]
    for group, caught in groups.items():
        lines.append(f"| {group} | {len(caught)} | {sum(caught)} | {sum(caught) / len(caught):.0%} |")
    return "\n".join(lines)


def main() -> int:
    """Try a sample of each group; print what survived and the table."""
    parser = argparse.ArgumentParser(prog="python -m tools.mutation", description=__doc__.splitlines()[0])
    parser.add_argument("groups", nargs="*", help="groups in pyproject.toml; all of them without one")
    parser.add_argument("--sample", type=int, default=25, help="changes a group (25)")
    parser.add_argument("--seed", type=int, default=1, help="of the samples (1)")
    parser.add_argument("--jobs", type=int, default=2, help="at once (2)")
    parser.add_argument("--root", type=Path, default=ROOT, help="the git working tree (this one)")
    parser.add_argument("--out", type=Path, help="a JSON file for every change that was tried")
    parser.add_argument(
        "--again", type=Path, help="try what survived in such a file, which has to be of this source"
    )
    asked = parser.parse_args()
    root = asked.root.resolve()
    parts: dict[str, Any] = tomllib.loads((root / "pyproject.toml").read_text())["tool"]["mutation"]
    for module in _PRELOADED:
        importlib.import_module(module)
    tried: list[Mutant] = []
    old: dict[str, list[Mutant]] = {}
    for fields in json.loads(asked.again.read_text()) if asked.again else ():
        old.setdefault(fields["group"], []).append(Mutant(**fields))
    with tempfile.TemporaryDirectory() as folder:
        work = multiprocessing.get_context("fork").Pool(asked.jobs, _open, (root, Path(folder)))
        with work:
            for group in asked.groups or old or parts:
                tests = parts[group]["tests"]
                drawn = old.get(group) or sample(
                    root, group, parts[group]["source"], asked.sample, asked.seed
                )
                limit_s = 30 + 5 * work.apply(_time, (tests,))
                tried += [mutant for mutant in drawn if mutant.caught]
                left = [mutant for mutant in drawn if not mutant.caught]
                running = [work.apply_async(_try, (mutant, tests, limit_s)) for mutant in left]
                for mutant in (result.get() for result in running):
                    tried.append(mutant)
                    if not mutant.caught:
                        print(f"survived: {mutant}", flush=True)
                print(
                    table([mutant for mutant in tried if mutant.group == group]).splitlines()[2], flush=True
                )
                if asked.out:
                    asked.out.write_text(json.dumps([asdict(mutant) for mutant in tried], indent=1))
    print(table(tried))
    return 0


if __name__ == "__main__":
    sys.exit(main())
