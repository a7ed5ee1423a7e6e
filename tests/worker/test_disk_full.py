"""A disk that is really full: every writer waits, says so with the right disk, and nothing learned is lost."""

from __future__ import annotations

import errno
import os
import resource
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from engine.dataset.cache import TensorCache, cache_key
from engine.export.registry import FORMATS
from engine.files import os_errors, patiently, waiting, write_atomic
from engine.plan.files import dumps
from engine.plan.schema import Plan
from engine.run.create import create_run
from engine.run.launch import launch
from engine.run.lock import is_alive
from engine.run.paths import RunDir
from engine.train import checkpoint, class_pictures
from engine.train.exporting import export_all
from engine.train.previews import Previewer
from tests.support.pictures import write_conditions, write_pictures
from tests.support.runs import events_of, new_run, pid_of, quick_plan, view_of, wait_until, work_to_end
from tests.support.sessions import Prepared, prepared

SIZE = 24 << 20


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A tmpfs of 24 MB; mounting takes a right that CI machines and users mostly lack."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", str(folder)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("a file system cannot be mounted here")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(disk: Path, leave: int) -> Path:
    """A file that takes all but about `leave` bytes of the disk."""
    ballast = disk / "ballast"
    free = os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize
    ballast.write_bytes(bytes(max(0, free - leave)))
    return ballast


@dataclass
class Freeing:
    """Makes room where a writer finds none, and remembers what it was told."""

    ballast: Path
    told: list[OSError]
    done: int = 0

    def full(self, error: OSError, path: Path, needed: int) -> None:
        self.told.append(error)
        assert needed > 0
        assert path.is_relative_to(self.ballast.parent)
        self.ballast.unlink()

    def over(self) -> None:
        self.done += 1


Write = Callable[[Prepared, Path], object]


def _checkpoint(made: Prepared, disk: Path) -> object:
    items, optimizer = made.adapted.trainables, made.loop.optimizer
    size = 1_000_000
    return patiently(disk / "checkpoints", size, lambda: checkpoint.save(disk, 3, items, optimizer, {}))


def _cache(made: Prepared, disk: Path) -> object:
    cache = TensorCache(disk / "cache")
    key = cache_key("anything")
    cache.put(key, {"value": torch.arange(100_000)})
    assert cache.get(key) is not None
    return key


def _exports(*formats: str) -> Write:
    def write(made: Prepared, disk: Path) -> object:
        output = made.plan.output.model_copy(update={"formats": list(formats)})
        plan = made.plan.model_copy(update={"output": output})
        done = export_all(plan, made.adapted, disk / "export", 3, made.report.items)
        assert [each.format for each in done] == list(formats)
        assert all(each.path.exists() for each in done)
        return done

    return write


def _preview(made: Prepared, disk: Path) -> object:
    told: list[object] = []
    previewer = Previewer(made.plan, made.adapted, disk / "samples", told.append, ["a thing"])
    assert previewer.draw_all(3) == 1, told
    return told


def _class_pictures(made: Prepared, disk: Path) -> object:
    data = made.plan.data.model_copy(update={"class_prompt": "a thing", "class_count": 2})
    plan = made.plan.model_copy(update={"data": data})
    items = class_pictures.class_items(plan, torch.device("cpu"), disk, lambda *_: None)
    assert len(items) == 2
    return items


def _file(made: Prepared, disk: Path) -> object:
    write_atomic(disk / "file", bytes(200_000))
    return (disk / "file").stat().st_size


LORA: dict[str, Write] = {
    "checkpoint": _checkpoint,
    "cache": _cache,
    "file": _file,
    "kohya": _exports("kohya"),
    "diffusers": _exports("diffusers"),
    "preview": _preview,
    "class pictures": _class_pictures,
}


@pytest.fixture(scope="module")
def lora(small_sd1: Path, tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    folder = tmp_path_factory.mktemp("lora")
    pictures = write_pictures(folder / "pictures", count=2)
    plan = quick_plan(small_sd1, pictures, samples__steps=1, lora__rank=8)
    return prepared(plan, folder / "cache")


@pytest.mark.parametrize("leave", [0, 4_096])
@pytest.mark.parametrize("name", LORA)
def test_every_writer_waits_for_a_full_disk(
    name: str, leave: int, lora: Prepared, disk: Path, home: Path
) -> None:
    for folder in ("export", "samples/thumbs", "cache/tmp"):
        (disk / folder).mkdir(parents=True)
    freeing = Freeing(fill(disk, leave), [])
    with waiting(freeing):
        assert LORA[name](lora, disk)
    assert [error.errno for error in freeing.told] == [errno.ENOSPC]
    assert freeing.done == 1
    left = [
        path for path in disk.rglob("*") if path.is_file() and ("tmp" in path.name or "part" in path.name)
    ]
    assert not left


@pytest.mark.parametrize("name", LORA)
def test_without_somebody_who_waits_a_full_disk_is_an_oserror(
    name: str, lora: Prepared, disk: Path, home: Path
) -> None:
    if name == "preview":
        pytest.skip("a preview that cannot be written is an event")
    fill(disk, 0)
    with pytest.raises(OSError, match="No space left"):
        LORA[name](lora, disk)


@pytest.mark.parametrize(
    ("method", "form"),
    [
        ("full", "diffusers_folder"),
        ("full", "single_file"),
        ("textual_inversion", "a1111_embedding"),
        ("hypernetwork", "a1111_hypernetwork"),
        ("controlnet", "controlnet_diffusers"),
    ],
)
def test_exports_of_other_methods_wait_too(
    method: str, form: str, small_sd1: Path, disk: Path, tmp_path: Path, home: Path
) -> None:
    subprocess.run(["mount", "-o", "remount,size=128m", str(disk)], check=True)
    pictures = write_pictures(tmp_path / "pictures", count=2)
    write_conditions(pictures, tmp_path / "conditions")
    changes: dict[str, object] = {"method": method, "data__trigger": "xyz"}
    if method == "controlnet":
        changes["controlnet__condition_path"] = str(tmp_path / "conditions")
    made = prepared(quick_plan(small_sd1, pictures, **changes), tmp_path / "cache")
    known = made.plan.export_formats if form not in FORMATS else (form,)
    freeing = Freeing(fill(disk, 0), [])
    with waiting(freeing):
        _exports(*known)(made, disk)
    assert freeing.done == 1


@pytest.mark.parametrize(
    "words", ["I/O error: No space left on device (os error 28)", "x: File too large (os error 27)"]
)
def test_a_librarys_words_become_the_error_of_the_system(words: str, tmp_path: Path) -> None:
    number = int(words.rpartition(" ")[2][:-1])
    with pytest.raises(OSError) as caught, os_errors(tmp_path):
        raise RuntimeError(words)
    assert caught.value.errno == number
    with pytest.raises(RuntimeError), os_errors(tmp_path):
        raise RuntimeError("something else (error 28)")


def _plan(base: Path, pictures: Path) -> Plan:
    return quick_plan(base, pictures, samples__every=3, samples__steps=1, checkpoints__keep=0, lora__rank=16)


def _paused(run: RunDir) -> list[dict[str, object]]:
    return [dict(event) for event in events_of(run) if event["kind"] == "paused"]


def _same(run: RunDir, straight: RunDir) -> None:
    """Nothing was lost, told twice or made otherwise."""
    kinds = [event["kind"] for event in events_of(run)]
    assert "failed" not in kinds
    assert "resumed" not in kinds
    assert kinds.count("unpaused") == kinds.count("paused")
    assert list(view_of(run).steps.loss) == list(view_of(straight).steps.loss)
    for step in (3, 6):
        name = f"step-{step:08d}/weights.safetensors"
        assert (run.checkpoints / name).read_bytes() == (straight.checkpoints / name).read_bytes()
        picture = f"step-{step:08d}-00.png"
        assert (run.previews / picture).read_bytes() == (straight.previews / picture).read_bytes()
    names = [path.name for path in straight.exports.iterdir()]
    assert sorted(path.name for path in run.exports.iterdir()) == sorted(names)


def test_a_run_on_a_full_disk_pauses_says_which_and_goes_on(
    small_sd1: Path, pictures: Path, home: Path, disk: Path
) -> None:
    plan = _plan(small_sd1, pictures)
    straight = new_run(plan)
    work_to_end(straight)
    run = create_run(dumps(plan), "full", disk / "run")
    ballast = fill(disk, 60_000)
    launch(run)
    wait_until(lambda: bool(_paused(run)) or not is_alive(run), what="the pause")
    (paused,) = _paused(run)
    assert paused["reason"] == "disk-full"
    assert paused["step"] == 3
    assert f"free at {disk}" in str(paused["text"])
    ballast.unlink()
    wait_until(lambda: not is_alive(run), what="the end")
    _same(run, straight)


def test_a_limit_of_file_sizes_pauses_a_run_until_it_is_lifted(
    small_sd1: Path, pictures: Path, home: Path
) -> None:
    plan = _plan(small_sd1, pictures)
    straight = new_run(plan)
    work_to_end(straight)
    run = new_run(plan)
    launch(run)
    wait_until(lambda: any(event["kind"] == "started" for event in events_of(run)), what="a worker")
    worker = pid_of(run, "started")
    before = resource.prlimit(worker, resource.RLIMIT_FSIZE)
    resource.prlimit(worker, resource.RLIMIT_FSIZE, (100_000, before[1]))
    wait_until(lambda: bool(_paused(run)) or not is_alive(run), what="the pause")
    assert "ulimit -f" in str(_paused(run)[0]["text"])
    resource.prlimit(worker, resource.RLIMIT_FSIZE, before)
    wait_until(lambda: not is_alive(run), what="the end")
    _same(run, straight)


def test_a_cache_on_a_full_disk_pauses_too(
    small_sd1: Path, pictures: Path, disk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SDTRAIN_HOME", str(disk / "home"))
    run = create_run(dumps(_plan(small_sd1, pictures)), "away", tmp_path / "away")
    ballast = fill(disk, 0)
    launch(run)
    wait_until(lambda: bool(_paused(run)) or not is_alive(run), what="the pause")
    assert str(disk / "home" / "cache") in str(_paused(run)[0]["text"])
    ballast.unlink()
    wait_until(lambda: not is_alive(run), what="the end")
    assert view_of(run).finished is not None


def test_a_stop_is_heard_while_the_disk_is_full(
    small_sd1: Path, pictures: Path, home: Path, disk: Path
) -> None:
    from engine.run.control import send
    from engine.run.control_commands import Stop

    run = create_run(dumps(_plan(small_sd1, pictures)), "full", disk / "run")
    fill(disk, 60_000)
    launch(run)
    wait_until(lambda: bool(_paused(run)) or not is_alive(run), what="the pause")
    send(run, Stop())
    wait_until(lambda: not is_alive(run), what="the end")
    failed = view_of(run).failed
    assert failed is not None
    assert failed.state == "disk-full"
    assert "sdtrain resume" in failed.fix
