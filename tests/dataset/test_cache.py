"""The cache: found by content, never torn, never wrong, and only what changed is made again."""

import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor

from engine.dataset import contents
from engine.dataset.cache import TensorCache, cache_key, latent_key
from engine.dataset.cached_encoder import CachedEncoder
from engine.dataset.contents import ContentIndex
from engine.dataset.sources import Stamp
from engine.errors import UserError

KEY = cache_key("test")
ENVIRONMENT = {"OMP_NUM_THREADS": "1", "PYTHONPATH": ":".join(sys.path), "PATH": os.environ["PATH"]}


def tensors(seed: int = 0) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {"latents": torch.randn(4, 8, 8, generator=generator), "size": torch.tensor([64, 64])}


def same(one: dict[str, Tensor] | None, other: dict[str, Tensor]) -> bool:
    return (
        one is not None
        and one.keys() == other.keys()
        and all(one[name].dtype == other[name].dtype and torch.equal(one[name], other[name]) for name in one)
    )


def settled(path: Path) -> Path:
    """The file with an old mtime; ctime cannot be set, so a test that needs trust lowers the waiting time."""
    os.utime(path, (1_000_000_000, 1_000_000_000))
    return path


def test_what_is_put_is_got_bit_for_bit_in_every_type(tmp_path: Path) -> None:
    cache = TensorCache(tmp_path)
    written = {
        **tensors(),
        "half": torch.randn(3, 5).half(),
        "brain": torch.randn(4, 3).bfloat16().T,
        "flag": torch.tensor(True),
        "none": torch.zeros(0, 4),
        "odd": torch.tensor([float("nan"), float("-inf"), -0.0]).view(torch.int32),
    }
    assert cache.get(KEY) is None and KEY not in cache
    cache.put(KEY, written)
    assert KEY in cache and same(cache.get(KEY), written)
    assert same(TensorCache(tmp_path).get(KEY), written)


def test_views_of_one_batch_are_stored_each_by_itself(tmp_path: Path) -> None:
    cache, batch = TensorCache(tmp_path), torch.randn(8, 4, 4)
    cache.put(KEY, {"a": batch[0], "b": batch[1], "c": batch[0]})
    assert same(cache.get(KEY), {"a": batch[0], "b": batch[1], "c": batch[0]})
    assert cache.path(KEY).stat().st_size < 1000


def test_a_later_put_replaces_an_earlier_one(tmp_path: Path) -> None:
    cache = TensorCache(tmp_path)
    cache.put(KEY, tensors(1))
    cache.put(KEY, tensors(2))
    assert same(cache.get(KEY), tensors(2))


def test_any_damage_to_the_file_is_a_miss_and_is_mended_by_a_put(tmp_path: Path) -> None:
    cache = TensorCache(tmp_path)
    cache.put(KEY, tensors())
    whole = cache.path(KEY).read_bytes()
    damaged = [
        whole[:0],
        whole[:7],
        whole[: len(whole) // 2],
        whole[:-1],
        whole + b"x",
        b"\0" * len(whole),
        b"<html>",
    ]
    for at in range(0, len(whole), 7):
        damaged.append(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
    for raw in damaged:
        cache.path(KEY).write_bytes(raw)
        assert cache.get(KEY) is None
    cache.put(KEY, tensors())
    assert same(cache.get(KEY), tensors())


def test_a_file_under_another_key_is_a_miss(tmp_path: Path) -> None:
    cache, other = TensorCache(tmp_path), cache_key("other")
    cache.put(KEY, tensors())
    cache.path(other).parent.mkdir(exist_ok=True)
    shutil.copy(cache.path(KEY), cache.path(other))
    assert cache.get(other) is None


def test_every_part_of_the_key_counts() -> None:
    base = latent_key("c" * 64, (64, 48), (0.5, 0.5), False, "vae")
    others = {
        latent_key("d" * 64, (64, 48), (0.5, 0.5), False, "vae"),
        latent_key("c" * 64, (48, 64), (0.5, 0.5), False, "vae"),
        latent_key("c" * 64, (64, 48), (0.5, 0.25), False, "vae"),
        latent_key("c" * 64, (64, 48), (0.5, 0.5), True, "vae"),
        latent_key("c" * 64, (64, 48), (0.5, 0.5), False, "vae2"),
    }
    assert len(others) == 5 and base not in others
    assert base == latent_key("c" * 64, (64, 48), (0.5, 0.5), False, "vae")
    assert (
        cache_key("a", "b") != cache_key("ab")
        and cache_key(1) != cache_key("1")
        and cache_key(1) != cache_key(1.0)
    )


def test_a_put_that_fails_leaves_neither_a_torn_file_nor_a_temporary_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = TensorCache(tmp_path)
    cache.put(KEY, tensors(1))

    def full(self: Path, data: bytes) -> int:
        with self.open("wb") as file:
            file.write(data[: len(data) // 2])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="No space"):
        cache.put(KEY, tensors(2))
    assert same(cache.get(KEY), tensors(1))
    assert not list((tmp_path / "tmp").iterdir())


def test_a_writer_killed_at_any_moment_leaves_only_whole_files(tmp_path: Path) -> None:
    code = f"""
import itertools, torch
from pathlib import Path
from engine.dataset.cache import TensorCache, cache_key
cache = TensorCache(Path({str(tmp_path)!r}))
print("ready", flush=True)
for n in itertools.count():
    cache.put(cache_key("kill", n % 50), {{"x": torch.full((4, 64, 64), float(n % 50))}})
"""
    cache = TensorCache(tmp_path)
    found = 0
    for attempt in range(2):
        with subprocess.Popen([sys.executable, "-c", code], env=ENVIRONMENT, stdout=subprocess.PIPE) as child:
            assert child.stdout is not None and child.stdout.readline() == b"ready\n"
            deadline = time.monotonic() + 20
            target = cache.path(cache_key("kill", 3 + attempt))
            while not target.exists() and time.monotonic() < deadline:
                os.sched_yield()
            child.send_signal(signal.SIGKILL)
        for n in range(50):
            key = cache_key("kill", n)
            if key in cache:
                found += 1
                assert same(cache.get(key), {"x": torch.full((4, 64, 64), float(n))})
    assert found
    assert not [path for path in tmp_path.rglob("*.safetensors") if path.parent.name == "tmp"]


def test_temporary_files_of_killed_writers_go_after_a_day_and_not_before(tmp_path: Path) -> None:
    cache = TensorCache(tmp_path)
    old, new = tmp_path / "tmp" / "1-old", tmp_path / "tmp" / "2-new"
    settled_old = [old.write_bytes(b"x"), new.write_bytes(b"x")]
    assert settled_old
    settled(old)
    TensorCache(tmp_path)
    assert not old.exists() and new.exists()
    assert cache.get(KEY) is None


def _hammer(root: str, worker: int) -> None:
    torch.set_num_threads(1)
    cache = TensorCache(Path(root))
    for n in range(60):
        key = cache_key("shared", n % 6)
        found = cache.get(key)
        assert found is None or torch.equal(found["x"], torch.full((64,), float(n % 6)))
        cache.put(key, {"x": torch.full((64,), float(n % 6))})
        cache.contents.sha256(Path(root) / f"file{n % 6}")
    cache.put(cache_key("done", worker), {"x": torch.zeros(1)})


def test_several_processes_share_one_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for n in range(6):
        (tmp_path / f"file{n}").write_bytes(bytes([n]) * 99)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    spawn = multiprocessing.get_context("spawn")
    workers = [spawn.Process(target=_hammer, args=(str(tmp_path), worker)) for worker in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(120)
        assert worker.exitcode == 0
    cache = TensorCache(tmp_path)
    assert all(same(cache.get(cache_key("shared", n)), {"x": torch.full((64,), float(n))}) for n in range(6))
    assert not list((tmp_path / "tmp").iterdir())


def test_a_cache_that_cannot_be_made_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UserError) as caught:
        TensorCache(tmp_path / "file")
    assert "SDTRAIN_HOME" in caught.value.fix


def pictures(folder: Path, count: int) -> list[Path]:
    folder.mkdir()
    for index in range(count):
        array = np.random.default_rng(index).integers(0, 256, (16, 16, 3), dtype=np.uint8)
        Image.fromarray(array).save(folder / f"{index}.png")
    return sorted(folder.iterdir())


class Encoder:
    """A CachedEncoder over files, which remembers what it was asked to encode."""

    def __init__(self, root: Path) -> None:
        self.calls: list[str] = []
        self.cache = TensorCache(root)
        self.encoder = CachedEncoder(self.cache, self.key_of, self.begin)

    def key_of(self, path: Path) -> str:
        return latent_key(self.cache.contents.sha256(path), (16, 16), (0.5, 0.5), False, "vae")

    def begin(self, path: Path) -> Callable[[], dict[str, Tensor]]:
        pixels = np.array(Image.open(path))

        def rest() -> dict[str, Tensor]:
            assert threading.current_thread() is threading.main_thread()
            self.calls.append(path.name)
            return {"latents": torch.from_numpy(pixels).float()}

        return rest


def test_only_an_edited_picture_is_encoded_again(tmp_path: Path) -> None:
    paths = pictures(tmp_path / "data", 6)
    assert Encoder(tmp_path / "cache").encoder.ensure(paths) == 6
    again = Encoder(tmp_path / "cache")
    assert again.encoder.ensure(paths) == 0 and not again.calls
    Image.new("RGB", (16, 16), (1, 2, 3)).save(paths[2])
    edited = Encoder(tmp_path / "cache")
    assert edited.encoder.ensure(paths) == 1 and edited.calls == ["2.png"]
    assert edited.encoder.get(paths[2])["latents"][0, 0].tolist() == [1, 2, 3]
    paths[3].rename(paths[3].with_name("7.png"))
    assert Encoder(tmp_path / "cache").encoder.ensure([tmp_path / "data" / "7.png"]) == 0


def test_items_are_encoded_in_their_order_and_copies_once(tmp_path: Path) -> None:
    paths = pictures(tmp_path / "data", 30)
    copy = Path(shutil.copy(paths[0], tmp_path / "data" / "copy.png"))
    encoder, seen = Encoder(tmp_path / "cache"), list[tuple[int, int]]()
    encoded = encoder.encoder.ensure(
        [*paths, copy], on_progress=lambda finished, total: seen.append((finished, total))
    )
    assert encoded == 30 and encoder.calls == [path.name for path in paths]
    assert seen == [(0, 31), *((count, 31) for count in range(2, 32))]


class Left(Exception):
    """Somebody asked to leave."""


def test_what_was_encoded_before_a_stop_is_not_encoded_again(tmp_path: Path) -> None:
    paths = pictures(tmp_path / "data", 20)
    encoder, before = Encoder(tmp_path / "cache"), threading.active_count()

    def told(done: int, total: int) -> None:
        if done == 2:
            raise Left

    with pytest.raises(Left):
        encoder.encoder.ensure(paths, told)
    assert len(encoder.calls) == 2 and threading.active_count() == before
    assert Encoder(tmp_path / "cache").encoder.ensure(paths) == 18


def test_an_error_while_encoding_comes_at_its_turn_and_keeps_what_was_done(tmp_path: Path) -> None:
    paths = pictures(tmp_path / "data", 4)
    paths[3].write_bytes(b"torn")
    with pytest.raises(OSError):
        Encoder(tmp_path / "cache").encoder.ensure(paths)
    assert Encoder(tmp_path / "cache").encoder.ensure(paths[:3]) == 0


def test_a_damaged_entry_is_encoded_again_when_it_is_read(tmp_path: Path) -> None:
    paths = pictures(tmp_path / "data", 2)
    encoder = Encoder(tmp_path / "cache")
    encoder.encoder.ensure(paths)
    good = encoder.encoder.get(paths[0])
    file = encoder.cache.path(encoder.key_of(paths[0]))
    file.write_bytes(file.read_bytes()[:-3])
    assert same(encoder.encoder.get(paths[0]), good)
    assert encoder.calls[-1] == "0.png" and encoder.cache.get(encoder.key_of(paths[0])) is not None


@pytest.fixture
def trusting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files just written count as settled, so that the index stores them."""
    monkeypatch.setattr(contents, "_SETTLED_NS", -(10**18))


def hashes(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files that are really hashed from now on."""
    seen: list[str] = []
    real = contents._hash

    def counted(path: Path) -> tuple[Stamp, str]:
        seen.append(Path(path).name)
        return real(path)

    monkeypatch.setattr(contents, "_hash", counted)
    return seen


def test_an_unchanged_file_is_hashed_once(
    tmp_path: Path, trusting: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen, paths = hashes(monkeypatch), pictures(tmp_path / "data", 3)
    first = [ContentIndex(tmp_path / "cache").sha256(path) for path in paths]
    assert [ContentIndex(tmp_path / "cache").sha256(path) for path in paths] == first
    assert seen == ["0.png", "1.png", "2.png"] and len(set(first)) == 3


def test_a_file_changed_in_place_with_its_old_time_and_length_is_noticed(
    tmp_path: Path, trusting: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(b"one")
    settled(path)
    index = ContentIndex(tmp_path / "cache")
    before = index.sha256(path)
    deadline = time.monotonic() + 20
    ctime = path.stat().st_ctime_ns
    while path.stat().st_ctime_ns == ctime and time.monotonic() < deadline:
        path.write_bytes(b"two")
        settled(path)
    assert index.sha256(path) != before


def test_a_hash_of_a_file_that_was_just_written_is_not_trusted_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen, path = hashes(monkeypatch), tmp_path / "a.png"
    path.write_bytes(b"one")
    index = ContentIndex(tmp_path / "cache")
    assert index.sha256(path) == index.sha256(path) and seen == ["a.png", "a.png"]


@given(st.lists(st.binary(max_size=30), max_size=5), st.integers(0, 400))
@settings(deadline=None, max_examples=40)
def test_a_torn_or_foreign_index_costs_hashes_and_never_gives_a_wrong_one(
    garbage: list[bytes], kept: int
) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as name, pytest.MonkeyPatch.context() as patch:
        patch.setattr(contents, "_SETTLED_NS", -(10**18))
        root = Path(name)
        paths = [root / "a", root / "b"]
        for path in paths:
            path.write_text(path.name)
        truth = [ContentIndex(root).sha256(path) for path in paths]
        index = root / "contents.jsonl"
        index.write_bytes(index.read_bytes()[:kept] + b"\n".join(garbage))
        assert [ContentIndex(root).sha256(path) for path in paths] == truth
        assert [ContentIndex(root).sha256(path) for path in paths] == truth
        assert (
            sum(line.startswith(b'["') and line.endswith(b'"]') for line in index.read_bytes().split(b"\n"))
            >= 2
        )


def test_a_missing_file_and_a_pipe_have_no_hash(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for name in ("missing", "pipe"):
        with pytest.raises(UserError, match=name):
            ContentIndex(tmp_path / "cache").sha256(tmp_path / name)


def test_a_name_that_is_no_text_is_indexed(
    tmp_path: Path, trusting: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff\n.png"))
    path.write_bytes(b"x")
    seen = hashes(monkeypatch)
    assert ContentIndex(tmp_path).sha256(path) == ContentIndex(tmp_path).sha256(path)
    assert len(seen) == 1
