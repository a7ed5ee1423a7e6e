"""What every file that people publish says of this machine, and of the pictures: names where asked, paths never."""

from __future__ import annotations

import json
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from safetensors import safe_open

from engine.export.published import model_name, own_name, without_paths
from engine.plan.methods import METHODS
from engine.train.exporting import export_all
from tests.methods.test_table import ROWS
from tests.support.runs import quick_plan
from tests.support.sessions import prepared

SECRET, WORD, FOLDER = "geheimnis", "wortmarke", "ordnermarke"


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to work in, whose path, user, host and tokens all have the secret word in them."""
    folder = tmp_path / SECRET / "work"
    folder.mkdir(parents=True)
    for name in ("USER", "LOGNAME", "HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        monkeypatch.setenv(name, f"{SECRET}-{name}")
    monkeypatch.setattr(socket, "gethostname", lambda: f"{SECRET}-host")
    return folder


def _base(source: Path, folder: Path) -> Path:
    """A copy of the model whose configs say where they came from, as save_pretrained leaves it in them."""
    base = folder / "my-base"
    shutil.copytree(source, base)
    for config in base.glob("*/*config.json"):
        values = json.loads(config.read_text())
        values |= {
            "_name_or_path": str(base),
            "name_or_path": str(base),
            "tokenizer_file": f"/home/{SECRET}/t.json",
        }
        config.write_text(json.dumps({**values, "another_note": f"/home/{SECRET}/models"}))
    return base


def _holding(folder: Path, text: str) -> list[str]:
    """Files below the folder that have the text in any byte or in their name."""
    found = [path for path in folder.rglob("*") if path.is_file()]
    assert found
    return [
        str(path.relative_to(folder))
        for path in found
        if text.encode() in path.read_bytes() or text in str(path.relative_to(folder))
    ]


@pytest.mark.parametrize("name", ROWS)
def test_no_file_of_a_method_tells_where_it_was_made(
    name: str, machine: Path, small_sd1: Path, home: Path
) -> None:
    row = ROWS[name]
    pictures = row.data(machine).rename(machine / FOLDER)
    for picture in [*pictures.glob("*.png")]:
        picture.with_suffix(".txt").write_text(f"{WORD} thing, <cat>, a circle")
    changes = {key: str(value).replace("{folder}", str(machine)) if isinstance(value, str) else value
               for key, value in row.changes.items()}  # fmt: skip
    base = _base(small_sd1, machine)
    plan = quick_plan(base, pictures, method=row.method, **changes)
    made = prepared(plan, home / "cache")
    offered = plan.export_formats if row.method == "dreambooth" else METHODS[row.method].formats
    formats = [name for name in offered if not plan.options.format_obstacle(name)]
    for metadata in ("full", "minimal"):
        output = plan.output.model_copy(update={"metadata": metadata, "formats": formats})
        written = export_all(
            plan.model_copy(update={"output": output}), made.adapted, machine / metadata, 2, made.report.items
        )
        assert [done.format for done in written] == formats
        assert _holding(machine / metadata, SECRET) == []
    assert _holding(machine / "minimal", WORD) == _holding(machine / "minimal", FOLDER) == []
    if "kohya" in formats:
        assert _holding(machine / "full", WORD) and _holding(machine / "full", FOLDER)
        (file,) = [path for path in (machine / "full").glob("*.safetensors") if "-" not in path.stem]
        with safe_open(str(file), framework="pt") as opened:
            notes = opened.metadata()
        assert notes["ss_sd_model_name"] == notes["sdtrain.base_model"] == "my-base"


def _models(home: Path) -> Iterator[tuple[str, str]]:
    yield "builtin:tiny", "builtin:tiny"
    yield "stabilityai/some-model", "stabilityai/some-model"
    yield f"{home}/models/sd15.safetensors", "sd15.safetensors"
    yield f"{home}/models/folder/", "folder"
    yield f"{home}/.cache/huggingface/hub/models--org--some-name/snapshots/0a1b", "org/some-name"
    yield str(home), "base model"
    yield "~", "base model"
    yield "~/sd15.ckpt", "sd15.ckpt"


def test_a_base_is_named_and_not_located(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "alice"
    monkeypatch.setenv("HOME", str(home))
    assert {model: model_name(model) for model, _ in _models(home)} == dict(_models(home))
    assert own_name(f"{home}/", "pictures") == own_name("/", "pictures") == "pictures"


def test_configs_lose_paths_at_any_depth_and_nothing_else() -> None:
    kept = {
        "pad_token": "!",
        "slash": "/",
        "act": "gelu",
        "n": 3,
        "deep": {"list": ["a/b", "/x", 1]},
        "none": None,
    }
    given = {
        **kept,
        "_name_or_path": "org/name",
        "file": "/home/alice/a.json",
        "win": r"C:\Users\alice\a.json",
        "deep": {"list": ["a/b", "/home/alice", "/x", 1], "name_or_path": "x"},
    }
    assert without_paths(given) == kept
