"""Changes the source on purpose, one small change at a time, and asks the tests of that file whether they notice.

`[tool.mutation]` in pyproject.toml names for each group of source files the tests that must notice. The changes of a
group are a sample drawn with a seed, so the same source gives the same changes. Each is made in a copy of the working
tree and tried in a forked process, which has pytest and torch loaded already. A change that no test breaks has
survived: either a test is missing, or the change makes no difference.
"""

from __future__ import annotations

import argparse
import getpass
import importlib
import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import tomllib
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Final

import psutil

from tools.mutants import Mutant, sample

ROOT: Final = Path(__file__).resolve().parents[1]
_MARK: Final = "SDTRAIN_MUTATION_COPY"


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
        import hypothesis
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
        # The same examples for every change, however slow the machine is.
        hypothesis.settings.register_profile(
            "mutation", deadline=None, derandomize=True, suppress_health_check=list(hypothesis.HealthCheck)
        )
        options = ["-q", "-x", "-p", "no:cacheprovider", "-p", "no:xdist", "--hypothesis-profile=mutation"]
        return int(pytest.main([*options, *tests]))

    def said(self) -> str:
        """What pytest printed last."""
        return (self._folder / "output").read_text(errors="replace")

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
        raise RuntimeError(f"without a change, these fail: pytest {' '.join(tests)}\n{_tree.said()[-4000:]}")
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
    settings: dict[str, Any] = tomllib.loads((root / "pyproject.toml").read_text())["tool"]["mutation"]
    parts = settings["parts"]
    for module in settings["preload"]:
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
