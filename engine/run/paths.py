"""Where runs live on the disk: the names inside a run directory, and how a run is made and found."""

from __future__ import annotations

import contextlib
import os
import shlex
from dataclasses import dataclass
from pathlib import Path

from engine.errors import UserError
from engine.files import expanded, make_private, read_plain, write_atomic

_ELSEWHERE = ".elsewhere"


@dataclass(frozen=True, slots=True)
class RunDir:
    """The directory of one run; every path in it has its name here and nowhere else."""

    path: Path

    @property
    def name(self) -> str:
        return self.path.name or self.path.absolute().name

    @property
    def plan_file(self) -> Path:
        return self.path / "plan.toml"

    @property
    def earlier_plans(self) -> Path:
        """The plans that the run had before each change, in their order: 0001.toml, ..."""
        return self.path / "plans"

    @property
    def events_file(self) -> Path:
        return self.path / "events.jsonl"

    @property
    def fit_file(self) -> Path:
        return self.path / "fit.json"

    @property
    def control_file(self) -> Path:
        return self.path / "control.jsonl"

    @property
    def lock_file(self) -> Path:
        return self.path / "engine.lock"

    @property
    def log_file(self) -> Path:
        return self.path / "engine.log"

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def previews(self) -> Path:
        return self.path / "samples"

    @property
    def exports(self) -> Path:
        return self.path / "export"

    @property
    def cache(self) -> Path:
        return self.path / "cache"

    def exists(self) -> bool:
        """Whether there is a run here: a plan, or at least events."""
        try:
            return self.plan_file.is_file() or self.events_file.is_file()
        except OSError:
            return False  # a name that is too long, or a folder that may not be entered


def condition_name(index: int) -> str:
    """The condition picture that previews of prompt number `index` obey, relative to the run directory."""
    return f"samples/{index:02d}-control.png"


def runs_root() -> Path:
    """$SDTRAIN_HOME/runs, else $XDG_DATA_HOME/sdtrain/runs, else ~/.local/share/sdtrain/runs."""
    return _base("runs", "XDG_DATA_HOME", ".local/share", "runs")


def cache_root() -> Path:
    """$SDTRAIN_HOME/cache, else $XDG_CACHE_HOME/sdtrain, else ~/.cache/sdtrain."""
    return _base("cache", "XDG_CACHE_HOME", ".cache", "")


def tokenizers_root() -> Path:
    """$SDTRAIN_HOME/tokenizers, else $XDG_DATA_HOME/sdtrain/tokenizers, else ~/.local/share/sdtrain/tokenizers."""
    return _base("tokenizers", "XDG_DATA_HOME", ".local/share", "tokenizers")


def captions_folder(data: Path) -> Path:
    """Where the captions that a model makes for the pictures in `data` lie unless a folder is named.

    $SDTRAIN_HOME/captions, else $XDG_DATA_HOME/sdtrain/captions, else ~/.local/share/sdtrain/captions; in it a
    folder of the data's name.
    """
    import hashlib

    mark = hashlib.sha256(os.fsencode(data)).hexdigest()[:8]
    return _base("captions", "XDG_DATA_HOME", ".local/share", "captions") / f"{safe_name(data.name)}-{mark}"


def _base(own: str, variable: str, fallback: str, below: str) -> Path:
    if home := os.environ.get("SDTRAIN_HOME"):
        return expanded(home).absolute() / own
    given = os.environ.get(variable, "")
    # The XDG specification says that a path that is not absolute must be ignored.
    root = Path(given) if given.startswith("/") else expanded("~") / fallback
    return root / "sdtrain" / below


def safe_name(name: str) -> str:
    """`name` as a folder name of letters, digits, dots, dashes, underscores; "run" when nothing is left."""
    kept = "".join(c if c.isalnum() or c in "._-" else "-" for c in name.strip())
    # 60 characters are at most 240 bytes, which leaves room for "-2" below the limit of 255.
    return kept.strip(".-")[:60].strip(".-") or "run"


def remember(run: RunDir) -> None:
    """Note a run that lies elsewhere: one small file each, so that nobody has to rewrite a list."""
    if run.path.parent == runs_root():
        return
    import hashlib  # 2 ms, which a list of runs does not need

    name = hashlib.sha256(os.fsencode(run.path)).hexdigest()[:16]
    with contextlib.suppress(OSError):  # the run itself does not need it
        notes = runs_root() / _ELSEWHERE
        if not (notes / name).exists():
            make_private(notes.parent)
            notes.mkdir(exist_ok=True)
            write_atomic(notes / name, os.fsencode(run.path))


def _elsewhere() -> list[RunDir]:
    """The runs that were started with a directory of their own; a note about one that is gone is taken away."""
    found = []
    try:
        notes = [note for note in (runs_root() / _ELSEWHERE).iterdir() if not note.name.startswith(".")]
    except OSError:
        return []
    for note in notes:
        try:
            run = RunDir(Path(os.fsdecode(read_plain(note, 8192))))
            # Where the folder around it is missing too, a disk may only not be mounted.
            if not run.exists() and run.path.parent.is_dir():
                note.unlink()
        except (OSError, ValueError):
            continue
        found.append(run)
    return found


def list_runs(root: Path | None = None) -> list[RunDir]:
    """Every run below `root`, the one with the newest activity first.

    Without `root`: below runs_root(), and those that were made with a directory of their own.
    """
    top = runs_root() if root is None else root
    try:
        runs = [RunDir(path) for path in top.iterdir() if not path.name.startswith(".")]
    except (FileNotFoundError, NotADirectoryError):
        return []
    runs += _elsewhere() if root is None else []
    dated = [(_touched(run), run.name, run) for run in runs if run.exists()]
    return [run for _, _, run in sorted(dated, key=lambda item: (-item[0], item[1]))]


def _touched(run: RunDir) -> float:
    times = []
    for path in (run.events_file, run.plan_file):
        try:
            times.append(path.stat().st_mtime)
        except OSError:
            continue
    return max(times, default=0.0)


def find_run(text: str, root: Path | None = None) -> RunDir:
    """The run that `text` names: its name, its directory, or a part of either that fits only one run.

    Raises UserError that lists the runs it could have meant.
    """
    top = runs_root() if root is None else root
    path = Path(os.path.expanduser(text)).absolute()  # noqa: PTH111 - Path's own raises for "~nobody"
    exact = RunDir(top / text)
    direct = RunDir(path)
    # A word is a name first; only something with a slash in it (or no such name) is a path.
    order = [direct] if os.sep in text or text in {"", ".", ".."} else [exact, direct]
    for run in order:
        if text and run.exists():
            return run
    runs = list_runs(root)
    part = text.casefold().rstrip("/")
    fitting = [run for run in runs if part and part in str(run.path).casefold()]
    # The folder that holds all runs is in every path: a part found in names counts for more, a whole name most.
    named = [run for run in fitting if part in run.name.casefold()]
    named = [run for run in named if run.name == text] or named
    chosen = named or (fitting if part not in str(top).casefold() else [])
    if len(chosen) == 1:
        return chosen[0]
    raise _not_found(text, top, chosen or runs, ambiguous=bool(chosen))


def handle(run: RunDir) -> str:
    """How to name this run in a command: its name, or its folder where the name means none or another."""
    try:
        if find_run(run.name).path.samefile(run.path):
            return run.name
    except (UserError, OSError):
        pass
    return shlex.quote(str(run.path))


def _not_found(text: str, top: Path, candidates: list[RunDir], *, ambiguous: bool) -> UserError:
    text = text if len(text) <= 200 else f"{text[:197]}..."
    names = ", ".join(run.name for run in candidates[:8]) + (", ..." if len(candidates) > 8 else "")
    if ambiguous:
        return UserError(f"{text!r} fits {len(candidates)} runs: {names}", fix="give more of the name")
    if not candidates:
        return UserError(f"There is no run {text!r}", why=f"{top} holds no run", fix="start one: sdtrain new")
    return UserError(
        f"There is no run {text!r}", why=f"the runs in {top} are: {names}", fix="give one of these names"
    )
