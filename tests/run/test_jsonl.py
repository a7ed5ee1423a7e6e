"""A file of JSON lines is read from its ends, by kind, or here and there, and always in whole lines."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.run.events import EventWriter
from engine.run.jsonl import encode, head, overview, select, tail
from tests.support.events import raw


def test_head_tail_and_select_read_whole_lines_of_their_part_only(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    whole = b"".join(encode({"seq": n, "kind": "step", "pad": "x" * 100})[0] for n in range(1, 51))
    path.write_bytes(whole)
    with EventWriter(path) as writer:
        mark = writer.emit(raw("command", id="a"))
    with path.open("ab") as file:
        file.write(b'{"v":1,"kind":"command","id":"to')
    line = whole.index(b"\n") + 1
    for size, seen in (
        (0, []),
        (line - 1, []),
        (line, [1]),
        (3 * line - 2, [1, 2]),
        (3 * line + 9, [1, 2, 3]),
    ):
        assert [event["seq"] for event in head(path, size)] == seen
    assert [event["seq"] for event in tail(path, 200)] == [51]
    assert list(select(path, {"command"})) == [mark]
    assert list(select(path, {"command"}, start=path.stat().st_size)) == []
    assert (
        tail(tmp_path / "none", 100)
        == head(tmp_path / "none", 100)
        == list(select(tmp_path / "none", {"a"}))
        == []
    )


def test_an_overview_of_a_long_file_has_its_course_its_last_sample_and_its_end(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    pad = "x" * 200
    with path.open("w") as file:
        for number in range(60_000):
            kind = "sample" if number in (10, 31_337) else "step"
            file.write(f'{{"seq":{number},"kind":"{kind}","pad":"{pad}"}}\n')
        file.write('{"seq":60000,"kind":"st')
    spread, end = overview(path, ("sample", "checkpoint"))
    numbers = [record["seq"] for record in spread + end]
    assert numbers == sorted(set(numbers)) and numbers[0] == 0 and numbers[-1] == 59_999
    assert {10, 31_337} <= {record["seq"] for record in spread if record["kind"] == "sample"}
    assert [record["seq"] for record in end] == list(range(end[0]["seq"], 60_000))
    line = len(f'{{"seq":59999,"kind":"step","pad":"{pad}"}}\n')
    assert (256 << 10) - 2 * line < len(end) * line <= 256 << 10
    tenths = {number // 6000 for number in numbers}
    assert len(tenths) == 10 and len(numbers) < 12_000


@pytest.mark.parametrize("text", ["", '{"kind":"step","seq":1}\n', '{"kind":"sample"', "\n\n"])
def test_an_overview_of_a_short_file_is_all_of_it(tmp_path: Path, text: str) -> None:
    path = tmp_path / "events.jsonl"
    assert overview(path, ("sample",)) == ([], [])
    path.write_text(text)
    spread, end = overview(path, ("sample",))
    assert spread + end == ([{"kind": "step", "seq": 1}] if "step" in text else [])


def test_a_line_that_is_longer_than_its_surroundings_hides_no_other(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    lines = [encode({"seq": number, "kind": "step", "pad": "x" * 1000})[0] for number in range(1_000)]
    lines[500] = encode({"seq": 500, "kind": "step", "pad": "x" * 300_000})[0]
    path.write_bytes(b"".join(lines))
    spread, end = overview(path, ())
    numbers = [record["seq"] for record in spread + end]
    assert numbers == sorted(set(numbers))
    assert {0, 999} <= set(numbers) and 500 not in numbers
    path.write_bytes(b"".join(lines[:501]))
    spread, end = overview(path, ("step",))
    assert spread[0]["seq"] == 0 and end == [], "the last 256 KiB are inside of one line"
    numbers = [record["seq"] for record in spread]
    assert numbers == sorted(set(numbers)) and numbers[-1] < 500
