"""A write, rename, fsync or open that fails, or a kill right there, at every call of everything that writes files.

What was whole before is whole afterwards, old or new; nobody sees a traceback; and the next start goes on.
"""

from __future__ import annotations

import random
import sys
from pathlib import Path

import pytest

from tests.support.faults import FAULTS
from tests.support.pictures import write_conditions, write_pictures
from tests.support.runs import quick_plan
from tests.support.sessions import prepared
from tests.support.shards import pack
from tests.worker.sweep import Sweep, Writer
from tests.worker.writers import exports, whole_run, writers

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="descriptors are named by /proc")
OF_A_RUN = 60
"""Each takes two starts of an engine."""
QUICK = frozenset(
    {
        "a new plan",
        "the creation of a run",
        "events",
        "the cache",
        "a checkpoint over itself",
        "lora as kohya, again",
    }
)
METHODS: dict[str, dict[str, object]] = {
    "lora": {"samples__steps": 1},
    "textual_inversion": {"textual_inversion__tokens": ["<cat>", "<dog>"]},
    "full": {},
    "hypernetwork": {},
    "controlnet": {"controlnet__condition_path": "conditions", "samples__steps": 1},
}


def _writers(method: str, base: Path, folder: Path) -> list[Writer]:
    """Of lora everything that writes, of the others their exports."""
    pictures = write_pictures(folder / "pictures", count=2)
    write_conditions(pictures, folder / "conditions")
    given = METHODS[method].items()
    changes = {key: str(folder / "conditions") if value == "conditions" else value for key, value in given}
    made = prepared(quick_plan(base, pictures, method=method, **changes), folder / "prepared")
    if method != "lora":
        return exports(method, made)
    pack(pictures, folder / "shards", [2])
    (shard,) = (folder / "shards").glob("*.tar")
    return [*writers(made, shard, pictures / "00.png"), *exports(method, made)]


@pytest.mark.soak
@pytest.mark.parametrize("method", METHODS)
def test_a_fault_at_every_call_breaks_nothing(
    method: str, sd1_folder: Path, tmp_path: Path, home: Path
) -> None:
    wrong, tried = [], 0
    for number, writer in enumerate(_writers(method, sd1_folder, tmp_path)):
        sweep = Sweep(writer, tmp_path / f"writer-{number}")
        cases = [(fault, at) for at in sweep.tried for fault in FAULTS]
        tried += len(cases)
        found = [each for fault, at in cases for each in sweep.wrong(fault, at)]
        calls = f"{len(sweep.tried)} of {sweep.calls} calls"
        print(f"{writer.name}: {calls}, {len(cases)} faults, {len(found)} broken", flush=True)
        wrong += found
    print(f"{method}: {tried} faults, {len(wrong)} broken")
    assert not wrong, "\n".join(wrong)


@pytest.mark.soak
def test_a_fault_at_any_call_of_a_whole_run_loses_nothing(
    sd1_folder: Path, tmp_path: Path, home: Path
) -> None:
    pictures = write_pictures(tmp_path / "pictures", count=2)
    changes: dict[str, object] = {
        "train__steps": 4,
        "samples__every": 2,
        "samples__steps": 1,
        "samples__count": 1,
    }
    plan = quick_plan(
        sd1_folder,
        pictures,
        checkpoints__every=2,
        checkpoints__keep=0,
        checkpoints__export_each=True,
        **changes,
    )
    sweep = Sweep(whole_run(plan), tmp_path / "run")
    rng, wrong = random.Random(1), []
    cases = [(fault, at) for at in sweep.tried for fault in FAULTS]
    for fault, at in rng.sample(cases, OF_A_RUN):
        wrong += sweep.wrong(fault, at)
    print(f"a whole run: {sweep.calls} calls, {OF_A_RUN} of {len(cases)} faults, {len(wrong)} broken")
    assert not wrong, "\n".join(wrong)


def test_a_sample_of_faults_breaks_nothing(sd1_folder: Path, tmp_path: Path, home: Path) -> None:
    rng, wrong = random.Random(3), []
    chosen = [writer for writer in _writers("lora", sd1_folder, tmp_path) if writer.name in QUICK]
    assert len(chosen) == len(QUICK)
    for number, writer in enumerate(chosen):
        sweep = Sweep(writer, tmp_path / f"writer-{number}")
        cases = [(fault, at) for at in sweep.tried for fault in FAULTS]
        for fault, at in rng.sample(cases, 2):
            wrong += sweep.wrong(fault, at)
    assert not wrong, "\n".join(wrong)
