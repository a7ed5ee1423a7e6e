"""Events: what is written is read back, and no torn line ever spoils another one."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from engine.run.event import as_float
from engine.run.events import EventReader, EventWriteError, EventWriter
from tests.run.engine_fakes import child_env
from tests.support.events import raw


def read(path: Path) -> list[dict[str, object]]:
    return EventReader(path).poll()


def written(path: Path, count: int) -> bytes:
    with EventWriter(path) as writer:
        for number in range(1, count + 1):
            writer.emit(
                raw("step", step=number, loss=1.0 / number, note="ä\n\u2028", error={"what": [number]})
            )
    return path.read_bytes()


def test_an_event_comes_back_as_it_was_returned_on_emit(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    with EventWriter(path) as writer:
        event = writer.emit(raw("warning", text='line\n"break" \udcff é', code="x", key=None))
    assert read(path) == [event]
    assert event["v"] == 1
    assert event["seq"] == 1
    assert path.read_bytes().count(b"\n") == 1


def test_numbers_that_are_not_finite_are_texts_in_the_file_and_floats_again_by_as_float(
    tmp_path: Path,
) -> None:
    path = tmp_path / "events.jsonl"
    with EventWriter(path) as writer:
        event = writer.emit(
            raw("step", step=1, loss=math.nan, lr=math.inf, grad_norm=-math.inf, more=[math.nan])
        )
    assert (event["loss"], event["lr"], event["grad_norm"], event["more"]) == ("nan", "inf", "-inf", ["nan"])
    json.loads(path.read_text(), parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert read(path) == [event]
    assert math.isnan(as_float(event["loss"]))
    assert as_float(event["lr"]) == math.inf
    assert as_float(event["grad_norm"]) == -math.inf
    assert as_float(10**400) == math.inf
    assert math.isnan(as_float("12"))


def test_a_writer_goes_on_counting_where_the_file_ends(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    written(path, 3)
    with EventWriter(path) as writer:
        assert writer.emit(raw("warning"))["seq"] == 4


def test_the_count_goes_on_behind_a_megabyte_of_garbage(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    written(path, 2)
    with path.open("ab") as file:
        file.write(b"\0" * 1_000_000 + b"\n[1]\n" + b"x" * 70_000)
    with EventWriter(path) as writer:
        assert writer.emit(raw("warning"))["seq"] == 3
    assert [event["seq"] for event in read(path)] == [1, 2, 3]


def test_a_file_cut_at_any_byte_of_its_last_lines_is_continued_without_harm(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    whole = written(path, 4)
    ends = [i + 1 for i, byte in enumerate(whole) if byte == 0x0A]
    for cut in range(ends[1], len(whole) + 1):
        path.write_bytes(whole[:cut])
        with EventWriter(path) as writer:
            fresh = [writer.emit(raw("warning", text="after")), writer.emit(raw("step", step=9))]
        events = read(path)
        # An event that lacks only its newline is whole once the line is closed.
        kept = sum(cut >= end - 1 for end in ends)
        assert [event["seq"] for event in events] == list(range(1, kept + 3)), cut
        assert events[-2:] == fresh
        assert path.read_bytes()[:cut] == whole[:cut], "nothing that was written is changed"
        assert b"\n\n" not in path.read_bytes(), "a torn line is closed once"


def test_a_reader_takes_a_line_only_when_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    whole = written(tmp_path / "all.jsonl", 3)
    reader = EventReader(path)
    assert reader.poll() == []
    seen = []
    with path.open("ab", buffering=0) as file:
        for byte in whole:
            file.write(bytes([byte]))
            seen += reader.poll()
            assert len(seen) == path.read_bytes().count(b"\n")
    assert seen == read(tmp_path / "all.jsonl")
    assert reader.generation == 0


def test_lines_that_are_no_events_are_counted_and_skipped(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    junk = [
        b"\xff\xfe",
        b"null",
        b"[]",
        b"{",
        b'{"seq":1}',
        b'{"kind":7}',
        b"[" * 100_000,
        b'{"kind":"a"},{"kind":"b"}',
    ]
    for line in junk:
        with path.open("ab") as file:
            file.write(line + b"\n")
        with EventWriter(path) as writer:
            writer.emit(raw("warning"))
    reader = EventReader(path)
    assert [event["seq"] for event in reader.poll()] == list(range(1, len(junk) + 1))
    assert reader.skipped == len(junk)


def test_a_line_longer_than_any_event_is_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_bytes(b'{"kind":"' + b"x" * 5_000_000 + b'"}\n')
    with EventWriter(path) as writer:
        event = writer.emit(raw("warning"))
    reader = EventReader(path)
    assert reader.poll(max_bytes=1) == [event]
    assert reader.skipped == 1


def test_small_reads_give_the_same_events_as_one_large_read(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    with EventWriter(path) as writer:
        for number in range(3):
            writer.emit(raw("warning", text="w" * 700_000, step=number))
    reader, pieces = EventReader(path), []
    while events := reader.poll(max_bytes=1_000):
        pieces.append(events)
    assert len(pieces) > 1
    assert [event for piece in pieces for event in piece] == EventReader(path).poll(1 << 30)


@pytest.mark.parametrize("how", ["cut", "replaced", "rewritten longer", "deleted"])
def test_a_file_that_is_not_the_same_any_more_is_read_from_its_beginning(tmp_path: Path, how: str) -> None:
    path = tmp_path / "events.jsonl"
    written(path, 5)
    reader = EventReader(path)
    assert len(reader.poll()) == 5
    other = written(tmp_path / "other.jsonl", 7).replace(b'"kind":"step"', b'"kind":"line"')
    if how == "cut":
        os.truncate(path, path.read_bytes().index(b"\n") + 1)
    elif how == "replaced":
        (tmp_path / "other.jsonl").replace(path)
    elif how == "rewritten longer":
        with path.open("r+b") as file:
            file.write(other)
    else:
        path.unlink()
        assert reader.poll() == []
        assert reader.generation == 1
        written(path, 2)
    assert [event["seq"] for event in reader.poll()] == [event["seq"] for event in read(path)]
    assert reader.generation == 1


def test_threads_that_share_a_writer_never_mix_their_lines(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    with EventWriter(path) as writer:

        def work(number: int) -> None:
            for _ in range(200):
                writer.emit(raw("warning", text=str(number) * 300))

        threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    reader = EventReader(path)
    assert [event["seq"] for event in reader.poll()] == list(range(1, 801))
    assert reader.skipped == 0


SHORT_WRITES = """
import resource, sys
from pathlib import Path
from engine.run.events import EventReader, EventWriteError, EventWriter
from tests.support.events import raw

def limit(size):
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))

room = 0
while True:
    path = Path(sys.argv[1], f"{room}.jsonl")
    writer = EventWriter(path)
    first = writer.emit(raw("warning", text="first"))
    limit(path.stat().st_size + room)
    try:
        second = writer.emit(raw("warning", text="second"))
    except EventWriteError as error:
        assert error.disk_full, error
        second = None
    limit(resource.RLIM_INFINITY)
    third = writer.emit(raw("warning", text="third"))
    events = EventReader(path).poll()
    texts = [event["text"] for event in events]
    assert texts[0] == "first" and texts[-1] == "third", (room, texts)
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1)), (room, events)
    if second is not None:
        assert texts == ["first", "second", "third"]
        break
    room += 1
print(room)
"""


def test_a_disk_that_is_full_in_the_middle_of_an_event_is_reported_and_spoils_nothing(tmp_path: Path) -> None:
    # The file-size limit gives the same short writes as a full disk, at every byte of the line.
    done = subprocess.run(
        [sys.executable, "-P", "-c", SHORT_WRITES, str(tmp_path)],
        capture_output=True,
        text=True,
        env=child_env(),
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 50


def test_a_full_disk_is_an_error_that_says_so() -> None:
    writer = EventWriter(Path("/dev/full"))
    with pytest.raises(EventWriteError) as caught:
        writer.emit(raw("step", step=1))
    assert caught.value.disk_full
    assert writer.seq == 0
    writer.close()


def test_the_last_event_of_a_run_is_brought_to_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[int] = []
    real = os.fsync

    def noted(fd: int) -> None:
        synced.append(os.fstat(fd).st_size)
        real(fd)

    monkeypatch.setattr("os.fsync", noted)
    path = tmp_path / "events.jsonl"
    with EventWriter(path) as writer:
        for kind in ("step", "warning", "checkpoint"):
            writer.emit(raw(kind, step=1))
        assert synced == []
        sizes = []
        for kind in ("finished", "stopped", "failed"):
            writer.emit(raw(kind, step=1))
            sizes.append(path.stat().st_size)
    assert synced == sizes, "each with its own line in the file"
