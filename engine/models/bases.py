"""Finds a base model on this machine and says what it is, without torch and without the network."""

from __future__ import annotations

import difflib
import json
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from engine.errors import UserError
from engine.files import is_path
from engine.hub import cached_models, is_hub_id, snapshot, unfinished
from engine.installing import hub_download
from engine.models.apart import look_apart
from engine.models.detect import detect
from engine.models.detected import Detected
from engine.models.programs import checkpoint_folders
from engine.models.single_file_layout import inspect
from engine.models.specs import FAMILIES
from engine.models.tokenizer_folder import find_tokenizer
from engine.tensorfiles.header import sniff

ASSETS = Path(__file__).parent.parent / "assets"
BUILTIN = "builtin:"
TINY_PIXELS = 128


@dataclass(frozen=True)
class BaseInfo:
    """A base model.

    `path` is none for a hub model that is not on this machine yet; then `family` is empty too.
    `native_resolution` is the side in pixels that it was made for; `tiny` marks models for tests and demos. `doubt`
    says why it cannot be known what the model predicts, and `lacks` names parts that the plan has to give.
    """

    model: str
    kind: str
    path: Path | None
    family: str
    title: str
    prediction: str
    variant: str
    dtype: str
    native_resolution: int
    tiny: bool
    reasons: tuple[str, ...]
    doubt: str = ""
    lacks: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Plain data for `json.dumps`."""
        return {
            **asdict(self),
            "path": None if self.path is None else str(self.path),
            "reasons": list(self.reasons),
            "lacks": list(self.lacks),
        }


def builtin_models() -> dict[str, Path]:
    """The models that ship with the program, by the NAME of builtin:NAME."""
    if not ASSETS.is_dir():
        return {}
    folders = sorted(path for path in ASSETS.iterdir() if (path / "model_index.json").is_file())
    return {folder.name: folder for folder in folders}


def locate(model: str, *, allow_download: bool = False) -> BaseInfo:
    """What `base.model` names. UserError says what is wrong with it, or how to get it."""
    text = model.strip()
    if not text:
        raise UserError(
            "no base model is given", fix="give builtin:tiny, a folder, a .safetensors file or a hub id"
        )
    if text.startswith(BUILTIN):
        return _builtin(text)
    if is_path(text, Path.cwd()) or not is_hub_id(text):
        if text in builtin_models() and not Path(text).exists():
            raise UserError(f"{text} does not exist", fix=f"did you mean {BUILTIN}{text}?")
        path = Path(text).expanduser()
        return _describe(text, "folder" if path.is_dir() else "file", path)
    return _from_hub(text, allow_download)


def _builtin(text: str) -> BaseInfo:
    known = builtin_models()
    name = text.removeprefix(BUILTIN)
    if name not in known:
        close = difflib.get_close_matches(name, known, n=1, cutoff=0.4)
        fix = (
            f"did you mean {BUILTIN}{close[0]}?"
            if close
            else f"known: {', '.join(known) or 'none in this copy'}"
        )
        raise UserError(f"there is no built-in model {name!r}", "it does not ship with this version", fix)
    return _describe(text, "builtin", known[name])


def _from_hub(text: str, allow_download: bool) -> BaseInfo:
    folder = snapshot(text)
    partly = unfinished(text).exists()
    if folder is not None and not partly:
        return _describe(text, "hub", folder)
    if allow_download:
        reason = "not on this machine yet: it is downloaded when the run starts, and only then looked at"
        return BaseInfo(text, "hub", None, "", text, "", "base", "", 512, False, (reason,))
    raise UserError(
        f"the download of {text} was not finished"
        if partly
        else f"{text} is neither a path here nor a model in the hub cache",
        "nothing is downloaded without being asked to",
        f"download it ({hub_download(text)}), set base.allow_download = true, or give a folder or file",
    )


def _describe(text: str, kind: str, path: Path) -> BaseInfo:
    if kind == "file" and path.is_file() and sniff(path) == "pickle":
        found = _detect_apart(path)
    else:
        found = _look(path)
    side = _native_resolution(found)
    tiny = side <= TINY_PIXELS
    title = FAMILIES[found.family].title
    title += ", v-prediction" if found.prediction == "v_prediction" else ""
    title += (", inpainting" if found.variant == "inpainting" else "") + (", tiny" if tiny else "")
    reasons = tuple(found.reasons)
    return BaseInfo(
        text,
        kind,
        path,
        found.family,
        title,
        found.prediction,
        found.variant,
        found.dtype,
        side,
        tiny,
        reasons,
        found.doubt,
        tuple(part for part in FAMILIES[found.family].weight_parts if part not in found.parts),
    )


def _look(path: Path) -> Detected:
    """What a folder or a file is, and that a file has all that belongs to it (`detect_folder` sees to a folder)."""
    return inspect(path) if path.is_file() else detect(path)


def _detect_apart(path: Path) -> Detected:
    """The same for a pickle, which takes torch to read: in a process of its own, so this one stays light."""
    answer = look_apart("engine.models.bases", path)
    tuples = {name: tuple(answer[name]) for name in ("parts", "reasons")}
    return Detected(**{**answer, **tuples, "path": path})


def _native_resolution(found: Detected) -> int:
    spec = FAMILIES[found.family]
    if found.kind == "diffusers":
        config = read_config(found.path / spec.denoiser / "config.json")
        size = config.get("sample_size")
        if isinstance(size, int) and not isinstance(size, bool) and 4 <= size <= 512:
            return size * spec.downscale
    return spec.resolutions.get(found.prediction, spec.resolution)


def read_config(path: Path) -> dict[str, Any]:
    """A component's config.json, or an empty table where it cannot be read."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return data if isinstance(data, dict) else {}


def tokenizer_folder(info: BaseInfo, given: str | None = None) -> Path | None:
    """The folder with the tokenizer that training will take, or none where there is none."""
    try:
        return find_tokenizer(info.path, given)
    except UserError:
        return None


def known_bases(folders: list[Path] | None = None) -> list[BaseInfo]:
    """Base models to offer: built in, in the usual folders (or the given ones), and in the hub cache."""
    found: list[BaseInfo] = []
    for text in _candidates(checkpoint_folders() if folders is None else folders):
        try:
            found.append(locate(text))
        except UserError:
            continue  # not a base model: nothing to offer, and the user did not ask for it
    return found


def _candidates(folders: list[Path]) -> Iterator[str]:
    yield from (f"{BUILTIN}{name}" for name in builtin_models())
    for folder in folders:
        try:
            inside = sorted(folder.iterdir())
        except OSError:
            continue
        for path in inside:
            if path.suffix == ".safetensors" or (path / "model_index.json").is_file():
                yield str(path)
    yield from (name for name in cached_models() if _is_pipeline(name))


def _is_pipeline(name: str) -> bool:
    folder = snapshot(name)
    return folder is not None and (folder / "model_index.json").is_file()


def _main(argument: str) -> None:
    """`python -P -m engine.models.bases FILE`: what a pickle holds, as one line of JSON."""
    try:
        found = inspect(Path(argument))
        print(json.dumps({**asdict(found), "path": str(found.path)}))
    except UserError as error:
        print(json.dumps({"error": {"what": error.what, "why": error.why, "fix": error.fix}}))


if __name__ == "__main__":
    _main(sys.argv[1])
