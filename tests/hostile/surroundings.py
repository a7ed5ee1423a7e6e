"""Hostile surroundings: themes, variables, a hub cache, folders to write to, and what the other commands are given."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from tests.hostile.case import EITHER, ESCAPE, FINE, Box, Hostile, always

ANY = frozenset({0, 1, 2})

VARIABLES: dict[str, dict[str, str]] = {
    "a home of escapes": {"SDTRAIN_HOME": f"BOX/home/{ESCAPE}"},
    "a home that is a device": {"SDTRAIN_HOME": "/dev/null"},
    "a home upwards": {"SDTRAIN_HOME": "BOX/home/../../../../../../../../nowhere/at/all"},
    "a home of nobody": {"SDTRAIN_HOME": "~nobody-at-all/x"},
    "a home of 5,000 letters": {"SDTRAIN_HOME": "/" + "a" * 5000},
    "a home of 1,000 folders": {"SDTRAIN_HOME": "/a" * 1000},
    "no home at all": {"SDTRAIN_HOME": "", "HOME": "/nowhere"},
    "a cache of escapes": {"HF_HUB_CACHE": f"/{ESCAPE}"},
    "a cache that is a device": {"HF_HUB_CACHE": "/dev/zero"},
    "a terminal of escapes": {"TERM": ESCAPE, "COLORTERM": ESCAPE, "LANG": "xx_YY.nothing"},
    "a terminal of no width": {"COLUMNS": "0", "LINES": "-5"},
    "a terminal of rubbish width": {"COLUMNS": "wide", "LINES": "x"},
    "no variables that matter": {"LANG": "C", "LC_ALL": "C", "TERM": "", "COLUMNS": ""},
    "a machine with odd cards": {"CUDA_VISIBLE_DEVICES": ESCAPE, "NVIDIA_VISIBLE_DEVICES": "all"},
}
COMMANDS = (["list"], ["doctor"], ["doctor", "--json"], ["show", "x"], ["schema"])


def _hub(name: str, content: dict[str, bytes]) -> Callable[[Box], list[str]]:
    def make(box: Box) -> list[str]:
        folder = box.input / "hub" / name
        for file, data in content.items():
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
            (folder / file).write_bytes(data)
        return ["check", box.plan(model="'some/model'")]

    return make


HUBS: dict[str, tuple[str, dict[str, bytes]]] = {
    "nothing": ("models--some--model", {"x": b""}),
    "a commit upwards": ("models--some--model", {"refs/main": b"../../../../etc", "snapshots/x/y": b""}),
    "a commit of rubbish": ("models--some--model", {"refs/main": b"\xff" * 50, "snapshots/x/y": b""}),
    "a commit of a megabyte": ("models--some--model", {"refs/main": b"a" * 1_000_000, "snapshots/x/y": b""}),
    "an empty index": ("models--some--model", {"refs/main": b"x", "snapshots/x/model_index.json": b""}),
    "a folder of escapes": (f"models--{ESCAPE.replace('/', '')}", {"refs/main": b"x"}),
}


def _places() -> Iterator[Hostile]:  # noqa: C901 (one small function a row)
    """Where a run may not be made."""

    def full(box: Box) -> list[str]:
        (box.here / "run").mkdir()
        (box.here / "run" / "mine.txt").write_text("mine")
        return ["run", box.plan(), "--dir", "run", "--detach"]

    def through_file(box: Box) -> list[str]:
        (box.here / "run").write_text("mine")
        return ["run", box.plan(), "--dir", "run/deeper", "--detach"]

    def device(box: Box) -> list[str]:
        return ["run", box.plan(), "--dir", "/dev/null", "--detach"]

    def dangling(box: Box) -> list[str]:
        (box.here / "run").symlink_to("/nowhere/at/all")
        return ["run", box.plan(), "--dir", "run", "--detach"]

    def long(box: Box) -> list[str]:
        return ["run", box.plan(), "--dir", "a" * 5000, "--detach"]

    def escapes(box: Box) -> list[str]:
        return ["check", box.plan(), "--dir", ESCAPE.replace("/", "")]

    def plan_is_there(box: Box) -> list[str]:
        (box.here / "plan.toml").write_text("mine")
        return ["new", "--base", "builtin:tiny", "--data", str(box.pictures()), "-o", "plan.toml"]

    def plan_through_link(box: Box) -> list[str]:
        (box.here / "plan.toml").symlink_to(box.outside / "kept.txt")
        return ["new", "--base", "builtin:tiny", "--data", str(box.pictures()), "-o", "plan.toml"]

    def plan_in_no_folder(box: Box) -> list[str]:
        return ["new", "--base", "builtin:tiny", "--data", str(box.pictures()), "-o", "no/folder/plan.toml"]

    kinds = (
        full,
        through_file,
        device,
        dangling,
        long,
        escapes,
        plan_is_there,
        plan_through_link,
        plan_in_no_folder,
    )
    for kind in kinds:
        yield Hostile(f"place: {kind.__name__}", kind, EITHER if kind is escapes else frozenset({1, 2}))


def cases() -> Iterator[Hostile]:
    """All cases of surroundings, and the two commands that take nothing, as a measure."""
    for title, given in VARIABLES.items():
        for words in COMMANDS[:4]:
            if words == ["doctor", "--json"] and "terminal" not in title:
                continue
            yield Hostile(f"variables: {title}: {' '.join(words)}", always(*words), ANY, env=given)
    for title, (name, content) in HUBS.items():
        yield Hostile(f"hub: {title}", _hub(name, content), env={"HF_HUB_CACHE": "BOX/input/hub"})
    yield from _places()
    for words in COMMANDS[:3]:
        yield Hostile(f"surroundings as they are: {' '.join(words)}", always(*words), FINE)
