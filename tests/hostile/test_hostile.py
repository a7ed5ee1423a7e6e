"""Every hostile input ends in one clear line and a fitting exit code, soon, in little memory, and changes nothing else.

What is looked at for each is in `rig.py`: exit code, no traceback, a way out where something is refused, no control
characters, the size of what is printed, seconds, memory, files outside of the run's and temporary folders, programs
that were started, connections.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Sequence

import pytest

from tests.hostile import bases, captions, pictures, plans, run_files, runs, surroundings, weights
from tests.hostile.case import Hostile
from tests.hostile.rig import Ended, Rig

TABLES = {
    each.__name__.rpartition(".")[2]: list(each.cases())
    for each in (plans, pictures, captions, weights, bases, runs, run_files, surroundings)
}
_SLOW = re.compile(r"resume$|^pickle|bomb|MB|\d{2},000|demo")


def _quick(table: str) -> list[Hostile]:
    """Without what starts an engine or torch in a process of its own, or has to make much first."""
    return [case for case in TABLES[table] if case.program == "sdtrain" and not _SLOW.search(case.name)]


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    with Rig(tmp_path_factory.mktemp("rig")) as made:
        yield made


def _tell(table: str, ended: Sequence[Ended], how: str) -> None:
    """The figures of docs/security.md."""
    memory, seconds = max(each.memory for each in ended), max(each.seconds for each in ended)
    print(f"{table}: {len(ended)} {how}, at most {memory >> 20} MiB and {seconds:.1f} s")


def test_there_are_over_400_of_them_and_no_two_have_one_name() -> None:
    names = [case.name for cases in TABLES.values() for case in cases]
    assert len(names) == len(set(names)) > 400


def _all(rig: Rig, cases: Sequence[Hostile], table: str, *, process: bool = False) -> None:
    ended = [rig.run(case, process=process) for case in cases]
    _tell(table, ended, "processes" if process else "forks")
    assert not [(case.name, end.wrong) for case, end in zip(cases, ended, strict=True) if end.wrong]


@pytest.mark.parametrize("table", TABLES)
def test_a_sample_of_each_table(rig: Rig, table: str) -> None:
    _all(rig, random.Random(8).sample(_quick(table), 5), table)


def test_one_of_each_table_in_a_process_of_its_own_ends_the_same(rig: Rig) -> None:
    for table in ("plans", "runs"):
        case = random.Random(5).choice(_quick(table))
        one, other = rig.run(case), rig.run(case, process=True)
        assert not other.wrong, (case.name, other.wrong)
        assert (one.code, one.out, one.err) == (other.code, other.out, other.err), case.name


@pytest.mark.soak
@pytest.mark.parametrize("table", TABLES)
def test_all_of_them(rig: Rig, table: str) -> None:
    _all(rig, TABLES[table], table)


@pytest.mark.soak
@pytest.mark.parametrize("table", TABLES)
def test_every_eighth_of_them_in_a_process_of_its_own(rig: Rig, table: str) -> None:
    _all(rig, TABLES[table][::8], table, process=True)
