"""What the system sees of a run, a resume and a check of a base that means harm: strace writes down every call.

No program but our own is started, nothing is connected to but the machine's own name service, and no file is made,
moved or opened for writing outside the run's folder, the cache and the temporary folder.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from engine.plan.files import dumps
from engine.run.create import create_run
from engine.run.lock import is_alive
from engine.run.paths import RunDir
from tests.hostile.case import Box
from tests.hostile.weights import PICKLES
from tests.support.runs import quick_plan, view_of, wait_until

pytestmark = [
    pytest.mark.soak,
    pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed"),
]
CALLS = "execve,execveat,connect,bind,sendto,open,openat,openat2,creat,mkdir,mkdirat,rename,renameat,renameat2,unlink"
CALLS += ",unlinkat,rmdir,link,linkat,symlink,symlinkat,truncate,chmod,fchmodat,chown,fchownat"
_PATH = re.compile(r'"((?:[^"\\]|\\.)*)"')
_WRITES = re.compile(r"O_(WRONLY|RDWR|CREAT|TRUNC|APPEND)")
_LOCAL = ("/var/run/nscd/socket", "/run/nscd/socket")


def traced(folder: Path, env: dict[str, str], *words: str) -> list[str]:
    """Every call of the command and of all its descendants that succeeded, one a line."""
    out = folder / "calls.txt"
    argv = ["strace", "-f", "-qq", "-e", f"trace={CALLS}", "-e", "signal=none", "-s", "4096", "-o", str(out)]
    done = subprocess.run(
        [*argv, sys.executable, "-m", "sdtrain_tui", *words],
        env=env,
        cwd=folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert "Traceback" not in done.stdout + done.stderr, done.stderr
    lines = out.read_text(errors="replace").splitlines()
    return [line for line in lines if " = -1 " not in line and " = ?" not in line]


def judged(calls: list[str], own: tuple[Path, ...]) -> dict[str, set[str]]:
    """Programs that are not Python's, connections, and paths that were written to outside of `own`."""
    found: dict[str, set[str]] = {"programs": set(), "connections": set(), "writes": set()}
    for line in calls:
        name = re.sub(r"^\d+\s+", "", line).partition("(")[0]
        paths: list[str] = _PATH.findall(line)
        if name.startswith("execve"):
            if Path(paths[0]).resolve() != Path(sys.executable).resolve():
                found["programs"].add(paths[0])
        elif name in ("connect", "bind", "sendto"):
            if not any(place in line for place in _LOCAL) and "AF_NETLINK" not in line and "::1" not in line:
                found["connections"].add(line)
        elif not name.startswith("open") or _WRITES.search(line):
            absolute = [path for path in paths if path.startswith("/")]
            away = (path for path in absolute if not path.startswith(tuple(map(str, own))))
            found["writes"] |= {path for path in away if not path.startswith(("/dev/", "/proc/self/"))}
    return found


NOTHING: dict[str, set[str]] = {"programs": set(), "connections": set(), "writes": set()}


@pytest.fixture
def env(home: Path, tmp_path: Path) -> dict[str, str]:
    names = ("PATH", "LANG", "VIRTUAL_ENV")
    kept = {name: os.environ[name] for name in names if name in os.environ}
    (tmp_path / "tmp").mkdir()
    places = {"SDTRAIN_HOME": str(home), "TMPDIR": str(tmp_path / "tmp"), "HOME": str(tmp_path / "user")}
    return (
        kept
        | places
        | {"OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1", "HF_HUB_CACHE": str(tmp_path / "hub")}
    )


def _own(home: Path, tmp_path: Path) -> tuple[Path, ...]:
    return home, tmp_path / "tmp"


def test_a_run_from_plan_to_export(env: dict[str, str], home: Path, tmp_path: Path, pictures: Path) -> None:
    plan = tmp_path / "plan.toml"
    plan.write_text(dumps(quick_plan("builtin:tiny", pictures, train__steps=2, samples__every=1)))
    calls = traced(tmp_path, env, "run", "--plain", str(plan))
    run = RunDir(home / "runs" / "quick")
    wait_until(lambda: not is_alive(run), 120, "the end of the run")
    assert view_of(run).finished is not None
    assert list(run.exports.rglob("*.safetensors")), "nothing was exported"
    assert judged(calls, _own(home, tmp_path)) == NOTHING


def test_a_resume(env: dict[str, str], home: Path, tmp_path: Path, pictures: Path) -> None:
    run = create_run(dumps(quick_plan("builtin:tiny", pictures, train__steps=2)), "again")
    calls = traced(tmp_path, env, "resume", "again", "--attach", "--plain")
    wait_until(lambda: not is_alive(run), 120, "the end of the run")
    assert view_of(run).finished is not None
    assert judged(calls, _own(home, tmp_path)) == NOTHING


@pytest.mark.parametrize("name", ["a command", "eval", "a harmless type with arguments", "names upwards"])
def test_a_check_of_a_base_that_means_harm(
    name: str, env: dict[str, str], home: Path, tmp_path: Path
) -> None:
    box = Box(tmp_path / "box")
    box.input.mkdir(parents=True)
    words = box.base(box.put("m.ckpt", PICKLES[name]()))
    calls = traced(tmp_path, env, *words)
    assert not list(tmp_path.rglob("ran"))
    assert judged(calls, _own(home, tmp_path)) == NOTHING


def test_the_judge_sees_what_must_not_be(tmp_path: Path) -> None:
    code = "import os,socket,subprocess; subprocess.run(['true']); open('made','w'); s=socket.socket(); s.connect_ex(('127.0.0.1',9)); socket.socket(type=2).connect(('127.0.0.1',9))"
    out = tmp_path / "calls.txt"
    argv = [
        "strace",
        "-f",
        "-qq",
        "-e",
        f"trace={CALLS}",
        "-s",
        "4096",
        "-o",
        str(out),
        sys.executable,
        "-c",
        code,
    ]
    subprocess.run(argv, cwd=tmp_path, check=True)
    calls = [line for line in out.read_text().splitlines() if " = -1 " not in line]
    found = judged(calls, (Path("/nowhere"),))
    assert found["programs"] and found["connections"]
