"""Every part of the engine that writes a file, as the sweep of faults runs it."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import torch

from engine.dataset.cache import TensorCache, cache_key
from engine.dataset.contents import ContentIndex
from engine.dataset.shard_index import shard_contents
from engine.files import write_atomic
from engine.plan.files import dumps, load_stored, save_plan
from engine.plan.schema import Plan
from engine.run import codes, kinds
from engine.run.control import send
from engine.run.control_commands import Sample, Save
from engine.run.create import create_run
from engine.run.events import EventReader, EventWriter
from engine.run.lock import RunLock
from engine.run.paths import RunDir, list_runs, remember
from engine.run.supervise import supervise
from engine.train import checkpoint, class_pictures
from engine.train.exporting import export_all
from engine.train.extras import preview_extras
from engine.train.previews import Previewer
from engine.worker.session import work
from sdtrain_tui.cli import main
from tests.support.runs import events_of
from tests.support.sessions import Prepared
from tests.worker.sweep import Writer

Act = Callable[[Path], object]


def _at_home(act: Act) -> Act:
    """With the folder as SDTRAIN_HOME; for a process that ends afterwards."""

    def there(folder: Path) -> object:
        os.environ["SDTRAIN_HOME"] = str(folder)
        return act(folder)

    return there


def _create(plan: Plan) -> Act:
    def act(folder: Path) -> None:
        create_run(dumps(plan), "cat")
        found = [load_stored(run.plan_file)[0] for run in list_runs()]
        assert found and set(map(dumps, found)) == {dumps(plan)}, "a run is there by half"

    return _at_home(act)


def _events(names: Sequence[str]) -> Act:
    def act(folder: Path) -> None:
        before = len(list(EventReader(folder / "events.jsonl").poll()))
        with EventWriter(folder / "events.jsonl") as writer:
            for name in names:
                writer.emit(kinds.Phase(name, ""))
        assert len(list(EventReader(folder / "events.jsonl").poll())) == before + len(names)

    return act


def _control(folder: Path) -> None:
    for command in (Save(), Sample(prompt="a cat")):
        send(RunDir(folder), command)


def _locked(folder: Path) -> None:
    with RunLock(folder / "engine.lock") as lock:
        assert lock.acquire()


def _noted(folder: Path) -> None:
    remember(RunDir(folder.parent / "elsewhere"))


def _killed_worker(folder: Path) -> None:
    os.chdir(folder)
    code = supervise(RunDir(Path()), ["/bin/sh", "-c", "kill -9 $$"])
    assert code in (codes.FAILED, -signal.SIGKILL), code


def _cache(*names: str) -> Act:
    def act(folder: Path) -> None:
        cache = TensorCache(folder)
        for name in names:
            cache.put(cache_key(name), {"value": torch.arange(2_000)})
            assert cache.get(cache_key(name)) is not None

    return act


def _hashes(*files: Path) -> Act:
    def act(folder: Path) -> None:
        index = ContentIndex(folder)
        for file in files:
            index.sha256(file)
        index.close()

    return act


def _shard(shard: Path, hashed: bool) -> Act:
    def act(folder: Path) -> None:
        found = shard_contents(shard.parent, shard.name, folder)
        assert len(found.samples) == 2
        if hashed:
            index = ContentIndex(folder)
            for sample in found.samples:
                index.sha256(sample.picture)
            index.close()

    return act


def _saved(made: Prepared, step: int, keep: int = 1) -> Act:
    def act(folder: Path) -> None:
        at = folder / "checkpoints"
        newest, _ = checkpoint.latest(at)
        assert newest is not None or not at.exists(), "no checkpoint is left"
        items, optimizer = made.adapted.trainables, made.loop.optimizer
        checkpoint.save(at, step, items, optimizer, {"loop": made.loop.state()})
        checkpoint.prune(at, keep)

    return act


def _exported(made: Prepared, *formats: str) -> Act:
    def act(folder: Path) -> None:
        output = made.plan.output.model_copy(update={"formats": list(formats)})
        plan = made.plan.model_copy(update={"output": output})
        (folder / "export").mkdir(exist_ok=True)
        export_all(plan, made.adapted, folder / "export", 3, made.report.items)

    return act


def _previews(made: Prepared) -> Act:
    def act(folder: Path) -> None:
        prompts = ["a thing", "another"]
        told: list[kinds.Sample] = []
        extras = preview_extras(made.feed.extras, made.plan, prompts, folder / "samples")
        (folder / "samples").mkdir(exist_ok=True)
        previewer = Previewer(made.plan, made.adapted, folder / "samples", told.append, prompts, extras)
        previewer.draw_all(3)
        assert len(told) == 2, "each is told, drawn or not"

    return act


def _class_pictures(made: Prepared) -> Act:
    def act(folder: Path) -> None:
        data = made.plan.data.model_copy(update={"class_prompt": "a thing", "class_count": 2})
        plan = made.plan.model_copy(update={"data": data})
        items = class_pictures.class_items(plan, torch.device("cpu"), folder, lambda *_: None)
        assert len(items) == 2

    return act


def _command(*words: str) -> Act:
    def act(folder: Path) -> None:
        code = main([word.replace("{folder}", str(folder)) for word in words])
        if code:
            raise OSError(0, f"it leaves with {code}")

    return _at_home(act)


def _run(plan: Plan) -> Act:
    def act(folder: Path) -> None:
        os.chdir(folder / "run")
        code = work(RunDir(Path()))
        if code != codes.DONE:
            raise OSError(0, f"it leaves with {code}")
        assert events_of(RunDir(Path()))[-1]["kind"] == "finished"

    return _at_home(act)


def _new_run(plan: Plan) -> Act:
    return _at_home(lambda folder: create_run(dumps(plan), "run", folder / "run"))


def writers(lora: Prepared, shard: Path, picture: Path) -> list[Writer]:
    """Every writer but the exports, on a prepared LoRA, a shard of two pictures and a picture with its neighbours; each
    has its own folder, whose first state `before` makes."""
    plan = lora.plan
    other = plan.model_copy(update={"seed": 99})
    new = (
        "new",
        "--data",
        str(picture.parent),
        "--base",
        "builtin:tiny",
        "-o",
        "{folder}/plan.toml",
        "--force",
    )
    return [
        Writer(
            "a file",
            lambda at: write_atomic(at / "file", b"new" * 999),
            lambda at: write_atomic(at / "file", b"old"),
        ),
        Writer(
            "a plan over another",
            lambda at: save_plan(at / "p.toml", other, replace=True),
            lambda at: save_plan(at / "p.toml", plan),
        ),
        Writer("a new plan", lambda at: None if (at / "p.toml").exists() else save_plan(at / "p.toml", plan)),
        Writer("sdtrain new", _command(*new), lambda at: save_plan(at / "plan.toml", plan)),
        Writer("the creation of a run", _create(plan), free=("runs/*", "cache/*")),
        Writer("the note of a run elsewhere", _at_home(_noted)),
        Writer("the lock", _locked, _locked, free=("engine.lock",)),
        Writer(
            "events", _events(("loading", "caching", "training")), _events(("old",)), logs=("events.jsonl",)
        ),
        Writer("control commands", _control, _control, logs=("control.jsonl",)),
        Writer(
            "the words on a killed worker",
            _killed_worker,
            _events(("old",)),
            logs=("events.jsonl",),
            free=("engine.lock",),
        ),
        Writer("the cache", _cache("new", "old"), _cache("old")),
        Writer(
            "the content index",
            _hashes(picture, *picture.parent.glob("*.png")),
            _hashes(picture),
            logs=("contents.jsonl",),
        ),
        Writer("the index of a shard", _shard(shard, hashed=False)),
        Writer("the hashes of a shard's members", _shard(shard, hashed=True), free=("*.sha256",)),
        Writer("a checkpoint", _saved(lora, 3), _saved(lora, 2)),
        Writer("a checkpoint over itself", _saved(lora, 2), _saved(lora, 2)),
        Writer("previews", _previews(lora)),
        Writer("class pictures", _class_pictures(lora)),
    ]


def exports(method: str, made: Prepared) -> list[Writer]:
    """Every format of a method, into an empty folder and over its own files."""
    found = []
    for form in made.plan.export_formats:
        again = _exported(made, form)
        found += [Writer(f"{method} as {form}", again), Writer(f"{method} as {form}, again", again, again)]
    return found


def whole_run(plan: Plan) -> Writer:
    """A run from its plan to its files, all that it writes."""
    return Writer(
        "a whole run",
        _run(plan),
        _new_run(plan),
        logs=("run/events.jsonl", "cache/contents.jsonl"),
        # What is saved before a failure ends the run may be of any step.
        free=("run/checkpoints/step-00000001/*", "run/checkpoints/step-00000003/*"),
        excused=_told_missing,
        once=True,
    )


def _told_missing(folder: Path) -> Iterator[str]:
    """What events say that could not be made: pictures and thumbnails of previews, after which the training goes on,
    and a checkpoint whose disk failed while later updates were made: what those learned is saved instead."""
    for told in events_of(RunDir(folder / "run")):
        if told["kind"] == "sample" and told.get("error"):
            name = f"step-{told['step']:08d}-{told['index']:02d}"
            yield from (f"run/samples/{name}.png", f"run/samples/thumbs/{name}.jpg")
        elif told["kind"] == "failed":
            for name in ("manifest.json", "optimizer.safetensors", "state.json", "weights.safetensors"):
                yield f"run/checkpoints/step-00000002/{name}"
