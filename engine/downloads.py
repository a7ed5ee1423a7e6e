"""Fetches models from the hub in a process of its own, which tells how far it is and can be ended at any time.

The hub's client does the work (it goes on where an earlier download ended); afterwards every file is compared with the
checksum that the hub gave, which the client itself does not do.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from engine import process
from engine.errors import UserError
from engine.hub import hub_cache, unfinished
from engine.installing import hub_download

PIPELINE_FILES = ("model_index.json", "*/*.json", "*/*.txt", "*/*.model", "*/*.safetensors")
"""Configs and weights of a pipeline: no pickles."""
MB = 1_000_000
_TELL_S = 0.2
_BLOCK = 1 << 20

Progress = Callable[[str, int, int], None]


def download(model: str, patterns: Sequence[str], progress: Progress) -> Path:
    """The folder of a hub model, with the files that fit `patterns`. Only for a plan with base.allow_download.

    `progress` hears what is done, the megabytes of it and of how many; when it raises, the download ends and what came
    so far is kept for the next time. Raises UserError.
    """
    child = subprocess.Popen(
        process.command("engine.downloads", model, *patterns),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "HF_HUB_DISABLE_PROGRESS_BARS": "1"},
    )
    errors: list[str] = []
    reader = threading.Thread(target=lambda: errors.append(child.stderr.read() if child.stderr else ""))
    reader.start()
    try:
        for told in _lines(child):
            if "progress" in told:
                progress(*told["progress"])
            elif "error" in told:
                raise UserError(**told["error"])
            else:
                return Path(told["path"])
    finally:
        child.kill()
        child.wait()
        reader.join()
        for pipe in (child.stdin, child.stdout, child.stderr):
            if pipe is not None:
                pipe.close()
    last = ("".join(errors).strip().splitlines() or [f"exit code {child.returncode}"])[-1]
    raise _refused(model, "".join(char for char in last if char.isprintable()), patterns)


def _lines(child: subprocess.Popen[str]) -> Iterator[dict[str, Any]]:
    for line in child.stdout or ():
        try:
            told = json.loads(line)
        except ValueError:
            continue  # something that a library printed
        if isinstance(told, dict):
            yield told


def _refused(model: str, why: str, patterns: Sequence[str]) -> UserError:
    files = [] if tuple(patterns) == PIPELINE_FILES else patterns
    fix = f"check the name and the network, or download it elsewhere: {hub_download(model, *files)}"
    return UserError(f"{model} could not be downloaded", why, fix)


# ---- in the process of its own


def _tell(**told: object) -> None:
    print(json.dumps(told), flush=True)


def _main(model: str, patterns: Sequence[str]) -> None:
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        _tell(path=str(_fetch(model, patterns)))
    except UserError as error:
        _tell(error={"what": error.what, "why": error.why, "fix": error.fix})


def _end_with_parent() -> None:
    sys.stdin.read()
    os._exit(1)


def _fetch(model: str, patterns: Sequence[str]) -> Path:
    from huggingface_hub import snapshot_download

    try:
        with _telling(lambda: ("asking the hub", 0, 1)):
            plan = snapshot_download(model, allow_patterns=list(patterns), dry_run=True)
        total = sum(item.file_size or 0 for item in plan if item.will_download)
        _require_space(model, total)
        blobs = unfinished(model).parent / "blobs"
        before = _size(blobs)
        with _telling(lambda: (f"MB of {model}", _mb(min(total, _size(blobs) - before)), max(1, _mb(total)))):
            folder = Path(snapshot_download(model, allow_patterns=list(patterns)))
    except (OSError, ValueError) as error:
        # The client's errors (HTTP, offline, wrong id, gated model) are all OSErrors or ValueErrors.
        why = (str(error).splitlines() or [type(error).__name__])[0]
        raise _refused(model, why, patterns) from error
    # Those that an earlier download brought were perhaps never compared.
    _compare(model, [folder / item.filename for item in plan])
    unfinished(model).unlink(missing_ok=True)
    return folder


def _require_space(model: str, needed: int) -> None:
    cache = hub_cache()
    cache.mkdir(parents=True, exist_ok=True)
    mark = unfinished(model)
    mark.parent.mkdir(parents=True, exist_ok=True)
    mark.touch()
    free = shutil.disk_usage(cache).free
    if free < needed + needed // 50:
        raise UserError(
            f"{model} does not fit on the disk of {cache}",
            f"{needed / 1e9:.1f} GB are to come, {free / 1e9:.1f} GB are free",
            "free some space, or set HF_HOME to a folder on a larger disk",
        )


@contextmanager
def _telling(progress: Callable[[], tuple[str, int, int]]) -> Iterator[None]:
    """Inside, progress is told several times a second, also while nothing comes: only then is a stop heard."""
    done = threading.Event()

    def tell() -> None:
        while not done.wait(_TELL_S):
            _tell(progress=progress())

    teller = threading.Thread(target=tell)
    teller.start()
    try:
        yield
    finally:
        done.set()
        teller.join()


def _mb(size: int) -> int:
    return max(0, size) // MB


def _size(folder: Path) -> int:
    size = 0
    try:
        for entry in os.scandir(folder):
            size += entry.stat().st_size
    except OSError:
        return size
    return size


def _compare(model: str, files: Sequence[Path]) -> None:
    """A file's blob is named after the hub's checksum: SHA-256 of large files, git's SHA-1 of small ones."""
    total = sum(file.stat().st_size for file in files)
    done, told = 0, time.monotonic()
    for file in files:
        blob = file.resolve()
        small = len(blob.name) == 40
        digest = hashlib.sha1(usedforsecurity=False) if small else hashlib.sha256()
        if small:
            digest.update(f"blob {blob.stat().st_size}\0".encode())
        elif len(blob.name) != 64:
            continue  # a disk without links, where the client keeps no checksum
        with blob.open("rb") as opened:
            while block := opened.read(_BLOCK):
                digest.update(block)
                done += len(block)
                if time.monotonic() - told > _TELL_S:
                    told = time.monotonic()
                    _tell(progress=[f"MB compared of {model}", _mb(done), max(1, _mb(total))])
        if digest.hexdigest() != blob.name:
            blob.unlink()
            file.unlink(missing_ok=True)
            raise UserError(
                f"{file.name} of {model} came with other bytes than the hub says",
                "its checksum differs; the file was taken away",
                "start again: only this file is fetched once more",
            )


if __name__ == "__main__":
    _main(sys.argv[1], sys.argv[2:])
