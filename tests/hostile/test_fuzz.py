"""What hypothesis makes of plans, events, manifests, captions and headers: the project's own error at most.

`make test` tries 40 examples of each, `make soak` the many of the profile "soak" (tests/conftest.py).
"""

from __future__ import annotations

import json
import math
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from hypothesis import example, given, settings
from hypothesis import strategies as st
from safetensors.numpy import save

from engine.dataset.encodings import decode
from engine.dataset.tables import METADATA_FILES, TableError, rows
from engine.errors import UserError
from engine.plan.files import dumps, from_dict, loads
from engine.plan.reading import decoded
from engine.run.fold import fold
from engine.run.jsonl import decode_line, decode_lines, encode
from engine.run.kinds import KINDS
from engine.tensorfiles.header import read_header
from engine.train import checkpoint
from tests.hostile.case import PLAN, safetensors

_GIVEN = settings.default.max_examples if settings.default is not None else 0
FUZZ = settings(deadline=None, max_examples=_GIVEN if _GIVEN > 100 else 40)

SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
NUMBERS = st.sampled_from([-1, 0, 1, 2**31, 2**53, 2**63, 2**64, 10**400, -(2**63), 1e308])
JSON = st.recursive(
    SCALARS | NUMBERS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)
T = TypeVar("T")


def spoilt(whole: bytes) -> st.SearchStrategy[bytes]:
    """`whole` with a stretch of it replaced by anything, cut off, or doubled."""
    place = st.integers(0, len(whole))
    return st.builds(
        lambda at, size, new: whole[:at] + new + whole[at + size :],
        place,
        st.integers(0, 12) | place,
        st.binary(max_size=12) | st.sampled_from([b"", whole[:20], b'"', b"\n[", b"\0", b"9" * 40]),
    )


def refused(call: Callable[[], T]) -> T | None:
    """What the call gives; none where it raises the project's own error, with what and, if it can be known, why."""
    try:
        return call()
    except UserError as error:
        assert error.what and "\n" not in error.what.strip("\n")[:1]
        return None


@FUZZ
@given(st.binary(max_size=200) | spoilt(PLAN.encode()) | st.text(max_size=100).map(str.encode))
@example(PLAN.encode())
def test_any_bytes_are_a_plan_or_refused_and_a_plan_reads_back(raw: bytes) -> None:
    plan = refused(lambda: loads(decoded(raw, "it"), "it"))
    assert plan is None or loads(dumps(plan)) == plan


FIELDS = st.sampled_from(
    ["steps", "batch_size", "learning_rate", "model", "path", "rank", "every", "device", "x"]
)
SECTIONS = st.sampled_from(
    ["base", "data", "train", "lora", "samples", "hardware", "output", "name", "seed", "y"]
)


@FUZZ
@given(st.dictionaries(SECTIONS, JSON | st.dictionaries(FIELDS, JSON, max_size=4), max_size=5))
def test_any_tables_are_a_plan_or_refused(tables: dict[str, Any]) -> None:
    sound = {"name": "x", "base": {"model": "builtin:tiny"}, "data": {"path": "p"}}
    plan = refused(lambda: from_dict({**sound, **tables}))
    assert plan is None or loads(dumps(plan)) == plan


FIELDS_OF = {kind: [field.name for field in each.declared()] for kind, each in KINDS.items()}


@st.composite
def events(draw: st.DrawFn) -> dict[str, Any]:
    """An event of a known kind with any values in its fields, or any object."""
    if draw(st.booleans()) and draw(st.booleans()):
        return draw(st.dictionaries(st.text(max_size=8), JSON, max_size=4))
    kind = draw(st.sampled_from(sorted(KINDS)))
    values: dict[str, Any] = {name: draw(JSON) for name in ("t", "seq") if draw(st.booleans())}
    for name in FIELDS_OF[kind]:
        if draw(st.booleans()):
            values[name] = draw(JSON | st.integers(0, 5))
    return {"kind": kind, **values}


@FUZZ
@given(st.lists(events(), max_size=12), st.integers(0, 12))
def test_no_event_makes_the_fold_fail_and_any_split_gives_the_same(
    story: list[dict[str, Any]], cut: int
) -> None:
    whole = fold(story)
    parts = fold(story[cut:], fold(story[:cut]))
    assert repr(whole) == repr(parts)  # by repr, as NaN is not itself


@FUZZ
@given(st.dictionaries(st.text(max_size=8), JSON, max_size=5))
def test_a_line_that_was_written_reads_back(record: dict[str, Any]) -> None:
    line, seen = encode(record)
    if all(not isinstance(value, int) or abs(value) < 10**4000 for value in record.values()):
        assert line.count(b"\n") == 1 and repr(decode_line(line)) == repr(_plain(seen))


def _plain(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return {math.inf: "inf", -math.inf: "-inf"}.get(value, "nan")
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list) else value


@FUZZ
@given(st.lists(st.binary(max_size=60) | JSON.map(lambda value: json.dumps(value).encode()), max_size=8))
def test_any_lines_are_objects_or_skipped(lines: list[bytes]) -> None:
    found, skipped = decode_lines(b"\n".join(lines))
    assert len(found) + skipped == sum(bool(line) for line in b"\n".join(lines).split(b"\n"))
    fold(found)


ENTRIES = st.dictionaries(
    st.sampled_from(["weights.safetensors", "optimizer.safetensors", "state.json", "../x", ""]),
    JSON,
    max_size=4,
)


@FUZZ
@given(
    st.binary(max_size=60)
    | st.fixed_dictionaries({"step": JSON | st.just(2), "files": ENTRIES | JSON}).map(
        lambda m: json.dumps(m).encode()
    )
)
def test_any_manifest_is_passed_over_for_the_one_before(raw: bytes) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "step-00000002"
        folder.mkdir()
        (folder / "manifest.json").write_bytes(raw)
        for file in ("weights.safetensors", "optimizer.safetensors", "state.json"):
            (folder / file).write_bytes(b"{}")
        found, broken = checkpoint.latest(Path(name))
        assert found is None and len(broken) == 1
        checkpoint.prune(Path(name), 1)


@FUZZ
@given(st.binary(max_size=200) | spoilt("a caption of a café".encode("utf-16")))
def test_any_bytes_are_a_caption(raw: bytes) -> None:
    assert isinstance(decode(raw).text, str)


PRINTED = st.text(st.characters(categories=["L", "N", "P", "Zs"]), min_size=1, max_size=40)


@FUZZ
@given(PRINTED, st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-32"]))
def test_a_caption_reads_back_from_every_encoding_that_is_marked(text: str, codec: str) -> None:
    assert decode(text.encode(codec)).text == text


ROWS = b'{"file_name": "a.png", "text": "a cat"}\n{"file_name": "b.png", "text": "b"}\n'


@FUZZ
@given(
    st.sampled_from(METADATA_FILES),
    st.binary(max_size=100) | spoilt(ROWS) | JSON.map(lambda v: json.dumps(v).encode()),
)
def test_any_table_is_rows_or_one_of_four_errors(name: str, raw: bytes) -> None:
    import csv

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / name
        file.write_bytes(raw)
        try:
            found = list(rows(file))
        except (UnicodeError, csv.Error, TableError):
            return
        assert all(row is None or all(isinstance(key, str) for key in row) for _, row in found)


ENTRY = st.fixed_dictionaries(
    {
        "dtype": st.sampled_from(["F32", "F16", "U8", "F4", "x", 5, None]),
        "shape": st.lists(NUMBERS | st.integers(0, 4), max_size=3) | JSON,
        "data_offsets": st.lists(NUMBERS | st.integers(0, 16), max_size=3) | JSON,
    }
)
SOUND = save({"a": np.zeros(3, np.float32), "b": np.ones((2, 2), np.float16)}, {"k": "v"})


@FUZZ
@given(
    st.binary(max_size=80)
    | spoilt(SOUND)
    | st.builds(
        lambda head, data, length: safetensors(json.dumps(head).encode(), data, length),
        st.dictionaries(st.sampled_from(["a", "b", "__metadata__"]), ENTRY | JSON, max_size=3),
        st.binary(max_size=16),
        st.none() | st.integers(0, 2**64 - 1),
    )
)
def test_any_bytes_are_a_header_or_refused_and_a_header_fits_its_file(raw: bytes) -> None:
    with tempfile.TemporaryDirectory() as name:
        file = Path(name) / "m.safetensors"
        file.write_bytes(raw)
        found = refused(lambda: read_header(file))
    if found is not None:
        assert all(8 <= info.start <= info.end <= len(raw) for info in found.tensors.values())
        assert max((info.end for info in found.tensors.values()), default=len(raw)) == len(raw)


DTYPES = {
    np.dtype(np.float32): "F32",
    np.dtype(np.float16): "F16",
    np.dtype(np.int64): "I64",
    np.dtype(np.uint8): "U8",
}
ARRAYS = st.builds(
    np.zeros, st.lists(st.integers(0, 4), max_size=4).map(tuple), st.sampled_from(sorted(DTYPES, key=str))
)


@FUZZ
@given(
    st.dictionaries(st.text(max_size=12), ARRAYS, min_size=1, max_size=4),
    st.dictionaries(st.text(max_size=8), st.text(max_size=8), max_size=3),
)
def test_what_the_library_writes_reads_back(arrays: dict[str, Any], metadata: dict[str, str]) -> None:
    arrays = {name: array for name, array in arrays.items() if name != "__metadata__"}
    with tempfile.TemporaryDirectory() as name:
        file = Path(name) / "m.safetensors"
        file.write_bytes(save(arrays, metadata))
        found = read_header(file)
    assert {name: (info.dtype, info.shape) for name, info in found.tensors.items()} == {
        name: (DTYPES[array.dtype], array.shape) for name, array in arrays.items()
    }
    assert found.metadata == metadata
