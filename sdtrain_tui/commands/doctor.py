"""`sdtrain doctor`: this machine, what will not work on it, and what to do."""

from __future__ import annotations

import argparse
import locale
import os
import platform
import shutil
import sys
import textwrap
from importlib import metadata
from pathlib import Path
from typing import Any

from engine.cost.machine import Machine, disk_free, half_format, machine
from engine.hub import cached_models, hub_cache
from engine.installing import pip_install
from engine.plan.units import size_text
from engine.run.paths import cache_root, runs_root
from sdtrain_tui.codes import DONE
from sdtrain_tui.commands.texts import clean, print_json

TRAINING = ("torch", "diffusers", "transformers", "peft", "accelerate", "safetensors")
OTHERS = ("numpy", "pillow", "psutil", "pydantic", "textual", "rich", "nvidia-ml-py", "huggingface-hub")
LOW_DISK = 10 * 2**30
LOW_MEMORY = 8 * 2**30
LOGIND = Path("/etc/systemd/logind.conf")

Advice = dict[str, str]


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(args: argparse.Namespace) -> int:
    facts = examine(machine())
    if args.json:
        print_json(facts)
    else:
        print("\n".join(clean(line) for line in lines(facts)))
    return DONE


def examine(here: Machine) -> dict[str, Any]:
    """Everything about the machine as plain data; `advice` says what will not work, why, and what to do."""
    facts: dict[str, Any] = {
        "sdtrain": _version("sdtrain-tui"),
        "python": {"version": platform.python_version(), "executable": sys.executable},
        "system": {"name": _system(), "cpus": here.cpus, "memory": here.memory_total},
        "gpus": [
            {
                "index": gpu.index,
                "name": gpu.name,
                "uuid": gpu.uuid,
                "memory_total": gpu.memory_total,
                "memory_free": gpu.memory_free,
                "capability": f"{gpu.capability[0]}.{gpu.capability[1]}",
                "precision": half_format(gpu.capability) if gpu.capability > (0, 0) else None,
            }
            for gpu in here.gpus
        ],
        "gpu_reason": here.reason,
        "driver": here.driver,
        "packages": {name: _version(name) for name in (*TRAINING, *OTHERS)},
        "terminal": _terminal(),
        "disk": {
            name: {"path": str(path), "free": disk_free(path), "writable": _writable(path)}
            for name, path in (("runs", runs_root()), ("cache", cache_root()))
        },
        "hub": {"path": str(hub_cache()), "models": len(cached_models())},
    }
    facts["advice"] = [*_training_advice(facts), *_terminal_advice(facts), *_storage_advice(facts)]
    return facts


def _system() -> str:
    """Kernel and processor; platform.platform would start `uname -p` to know them."""
    here = os.uname()
    return f"{here.sysname} {here.release} {here.machine}"


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _terminal() -> dict[str, Any]:
    size = shutil.get_terminal_size()
    return {
        "is_terminal": sys.stdout.isatty(),
        "TERM": os.environ.get("TERM", ""),
        "COLORTERM": os.environ.get("COLORTERM", ""),
        "multiplexer": "tmux" if os.environ.get("TMUX") else "screen" if os.environ.get("STY") else "",
        "ssh": bool(os.environ.get("SSH_CONNECTION")),
        "encoding": locale.getpreferredencoding(False),
        "columns": size.columns,
        "lines": size.lines,
    }


def _writable(path: Path) -> bool:
    folder = next((parent for parent in (path, *path.parents) if parent.exists()), path)
    return os.access(folder, os.W_OK)


def _say(what: str, why: str, fix: str, level: str = "warning") -> Advice:
    return {"level": level, "what": what, "why": why, "fix": fix}


def _training_advice(facts: dict[str, Any]) -> list[Advice]:
    found: list[Advice] = []
    missing = [name for name in TRAINING if facts["packages"][name] is None]
    if missing:
        why = "training and export run on them; planning and watching work without"
        found.append(_say(f"{', '.join(missing)} not installed", why, pip_install(*missing), "error"))
    torch = facts["packages"]["torch"] or ""
    if facts["gpus"] and torch.endswith("+cpu"):
        why = f"the installed torch is {torch}, which knows no CUDA"
        found.append(
            _say("the NVIDIA card will not be used", why, "install a CUDA build: see pytorch.org", "error")
        )
    if not facts["gpus"]:
        why = facts["gpu_reason"] or "NVML lists no device"
        fix = "the tiny demo works all the same; for real models use a machine with an NVIDIA card"
        found.append(_say("no NVIDIA card: training runs on the CPU, which is slow", why, fix))
    for gpu in facts["gpus"]:
        if gpu["memory_total"] and gpu["memory_free"] < gpu["memory_total"] * 0.8:
            used = size_text(gpu["memory_total"] - gpu["memory_free"])
            found.append(
                _say(f"{used} of {gpu['name']} are in use", "another program holds them", "see nvidia-smi")
            )
    if 0 < facts["system"]["memory"] < LOW_MEMORY:
        why = f"{size_text(facts['system']['memory'])}; loading a base model takes several GiB"
        found.append(_say("little memory", why, "close other programs, or use a larger machine"))
    return found


def _terminal_advice(facts: dict[str, Any]) -> list[Advice]:
    terminal = facts["terminal"]
    found: list[Advice] = []
    if terminal["encoding"].lower().replace("-", "") != "utf8":
        why = f"the locale's encoding is {terminal['encoding']}"
        found.append(_say("charts and frames will look broken", why, "export LANG=C.UTF-8"))
    if terminal["TERM"] in ("", "dumb"):
        why = f"TERM is {terminal['TERM'] or 'not set'}"
        found.append(
            _say("the app cannot be shown here", why, "log in with a terminal (ssh -t), or use the commands")
        )
    elif terminal["COLORTERM"] not in ("truecolor", "24bit"):
        why = "COLORTERM is not truecolor, so pictures are shown in 256 colours"
        fix = "export COLORTERM=truecolor if your terminal can show it"
        found.append(_say("previews have fewer colours", why, fix, "info"))
    if terminal["is_terminal"] and (terminal["columns"] < 80 or terminal["lines"] < 24):
        why = f"it has {terminal['columns']} x {terminal['lines']}"
        found.append(_say("the terminal is small", why, "80 x 24 or more shows everything"))
    if terminal["ssh"] and _kills_processes():
        why = f"{LOGIND} has KillUserProcesses=yes"
        found.append(_say("logging out will end the runs", why, "loginctl enable-linger, once"))
    return found


def _kills_processes() -> bool:
    try:
        text = LOGIND.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    linger = Path("/var/lib/systemd/linger") / os.environ.get("USER", "")
    return "\nKillUserProcesses=yes" in f"\n{text}" and not linger.is_file()


def _storage_advice(facts: dict[str, Any]) -> list[Advice]:
    found: list[Advice] = []
    for name, place in facts["disk"].items():
        if not place["writable"]:
            why = "this user may not write there"
            found.append(
                _say(f"{name} cannot be written to {place['path']}", why, "set SDTRAIN_HOME", "error")
            )
        elif place["free"] is not None and place["free"] < LOW_DISK:
            why = f"{size_text(place['free'])} are free at {place['path']}"
            found.append(
                _say(f"little disk for {name}", why, "free some, or set SDTRAIN_HOME to a larger disk")
            )
    return found


def lines(facts: dict[str, Any]) -> list[str]:
    """The same for a person."""
    system, terminal = facts["system"], facts["terminal"]
    rows = [f"sdtrain   {facts['sdtrain']} on Python {facts['python']['version']}"]
    rows += [f"system    {system['name']}, {system['cpus']} cores, {size_text(system['memory'])} memory"]
    rows += [
        f"GPU {gpu['index']}     {gpu['name']}, {size_text(gpu['memory_total'])} "
        f"({size_text(gpu['memory_free'])} free), compute {gpu['capability']}"
        + (f", trains in {gpu['precision']}" if gpu["precision"] else "")
        for gpu in facts["gpus"]
    ] or [f"GPU       none: {facts['gpu_reason']}"]
    rows += [f"driver    {facts['driver']}"] if facts["driver"] else []
    packages = [f"{name} {version or 'missing'}" for name, version in facts["packages"].items()]
    rows += textwrap.wrap(", ".join(packages), 90, initial_indent="packages  ", subsequent_indent=" " * 10)
    parts = [terminal["TERM"] or "none", terminal["COLORTERM"], terminal["multiplexer"], terminal["encoding"]]
    size = f"{terminal['columns']} x {terminal['lines']}" if terminal["is_terminal"] else "not a terminal"
    rows += [f"terminal  {', '.join(part for part in (*parts, size) if part)}"]
    for name, place in facts["disk"].items():
        free = "unknown" if place["free"] is None else size_text(place["free"])
        rows += [f"{name:<9} {place['path']}, {free} free"]
    rows += [f"hub       {facts['hub']['path']}, {facts['hub']['models']} models cached"]
    rows += [""] + [row for advice in facts["advice"] for row in _advice_lines(advice)]
    return rows if facts["advice"] else [*rows, "nothing is in the way"]


def _advice_lines(advice: Advice) -> list[str]:
    return [f"{advice['level']}: {advice['what']}", f"  why: {advice['why']}", f"  fix: {advice['fix']}"]
