"""Hostile plan files, and what is given on the command line in the place of one."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

from tests.hostile.case import EITHER, ESCAPE, FINE, PLAN, Box, Hostile, Make

COMMANDS = ("check", "estimate", "run")
DEEP = 100_000

BYTES: dict[str, tuple[bytes, str]] = {
    "utf-16": (PLAN.encode("utf-16"), "UTF-16"),
    "utf-16 big end first": (b"\xfe\xff" + PLAN.encode("utf-16-be"), "UTF-16"),
    "utf-16 without mark": (PLAN.encode("utf-16-le"), "UTF-16"),
    "utf-32": (PLAN.encode("utf-32"), "UTF-32"),
    "utf-32 without mark": (PLAN.encode("utf-32-be"), "UTF-32"),
    "half a byte order mark": (b"\xef\xbb" + PLAN.encode(), "UTF-8"),
    "windows-1252": (PLAN.replace('"x"', '"caf\xe9"').encode("cp1252"), "0xe9"),
    "a surrogate": (PLAN.encode() + b'# \xed\xa0\x80\n', "UTF-8"),
    "an overlong slash": (PLAN.encode() + b'# \xc0\xaf\n', "UTF-8"),
    "a NUL in the middle": (PLAN.encode() + b"# \0\n", "zero bytes"),
    "NULs alone": (bytes(4096), "zero bytes"),
    "nothing": (b"", "name"),
    "blanks": (b" \n\t\n" * 1000, "name"),
    "a PNG": (b"\x89PNG\r\n\x1a\n" + bytes(200), "UTF-8"),
    "a zip": (b"PK\x03\x04" + bytes(200), "zero bytes"),
    "a safetensors file": (b"\x02\0\0\0\0\0\0\0{}", "zero bytes"),
    "JSON": (b'{"name": "x", "base": {"model": "builtin:tiny"}}', "TOML"),
    "YAML": (b"name: x\nbase:\n  model: builtin:tiny\n", "TOML"),
    "a web page": (b"<!DOCTYPE html><html><body>404</body></html>", "TOML"),
    "one line of a megabyte": (b"x" * 999_999, "TOML"),
    "over a megabyte": (b"#" * 2_000_000, "too large"),
    "20,000 keys": (b"".join(b"k%d = 1\n" % n for n in range(20_000)), "more problems"),
    "a key of 20,000 parts": (b".".join([b"a"] * 20_000) + b" = 1\n", "32 parts"),
    "a table of 20,000 parts": (b"[" + b".".join([b"a"] * 20_000) + b"]\n", "32 parts"),
    "quoted parts, 20,000": (b".".join([b'"a"'] * 20_000) + b" = 1\n", "32 parts"),
    "lists 100,000 deep": (b"x = " + b"[" * DEEP, "deep"),
    "tables 100,000 deep": (b"x = " + b"{a=" * DEEP, "deep"),
    "closed lists 5,000 deep": (b"x = " + b"[" * 5000 + b"]" * 5000 + b"\n", "deep"),
    "a list of 300,000 numbers": (b"x = [" + b"1," * 300_000 + b"]\n", "no such key"),
    "a key of half a megabyte": (b"k" * 500_000 + b" = 1\n", "no such key"),
    "a text without an end": (PLAN.encode() + b'trigger = "', "TOML"),
    "a text of many lines without an end": (PLAN.encode() + b'trigger = """\n' + b"a\n" * 100_000, "TOML"),
    "a key twice": (PLAN.encode() + b'path = "again"\n', "TOML"),
    "a table twice": (PLAN.encode() + b'[data]\ntrigger = "x"\n', "TOML"),
    "old Mac line ends": (PLAN.replace("\n", "\r").encode(), "TOML"),
    "curly quotes": (PLAN.replace('"', "\u201d").encode(), "curly quote"),
    "escape sequences in a comment": (PLAN.encode() + b"# \x1b[2J\n", "TOML"),
    "an unknown key of escapes": (PLAN.encode() + b'"\\u001b[2J\\u009b31m" = 1\n', "no such key"),
    "a truncated plan": (PLAN.encode()[:40], "TOML|data"),
}  # fmt: skip

LINES: dict[str, tuple[str, str]] = {
    "steps of 5,000 digits": (f"[train]\nsteps = {'9' * 5000}", "5,000 digits"),
    "steps in hex of 5,000 digits": (f"[train]\nsteps = 0x{'f' * 5000}", "train.steps"),
    "steps of 10 ** 30": (f"[train]\nsteps = 1{'0' * 30}", "train.steps"),
    "steps below zero": ("[train]\nsteps = -1", "train.steps"),
    "steps as 1e400": ("[train]\nsteps = 1e400", "train.steps"),
    "a rate that is no number": ("[train]\nlearning_rate = nan", "train.learning_rate"),
    "an endless rate": ("[train]\nlearning_rate = inf", "train.learning_rate"),
    "a rate of minus zero": ("[train]\nlearning_rate = -0.0", "train.learning_rate"),
    "batches of 2 ** 62": (f"[train]\nbatch_size = {2**62}", "train.batch_size"),
    "accumulation of 2 ** 62": (f"[train]\naccumulation = {2**62}", "accumulation"),
    "a rank of 2 ** 62": (f"[lora]\nrank = {2**62}", "lora.rank"),
    "a date as rate": ("[train]\nlearning_rate = 2024-01-01", "train.learning_rate"),
    "a table as steps": ("[train.steps]\na = 1", "train.steps"),
    "a table for every table": ("train = 5", "train"),
    "prompts of 20,000": ('[samples]\nprompts = ["a"' + ', "a"' * 20_000 + "]", ""),
    "a prompt of a quarter megabyte": (f'[samples]\nprompts = ["{"a" * 250_000}"]', ""),
    "prompts that are no texts": ("[samples]\nprompts = [1, [2], {a = 3}]", "samples.prompts"),
    "a size of 2 ** 60": (f"[samples]\nwidth = {2**60}", "samples"),
    "a device with a path": ('[hardware]\ndevice = "cuda:../../etc"', "hardware.device"),
    "a device of escapes": ('[hardware]\ndevice = "\\u001b[31m"', "hardware.device"),
    "a million threads": ("[hardware]\nthreads = 1000000", "hardware.threads"),
    "a format that is a path": ('[output]\nformats = ["../../x"]', "output.formats"),
    "a method that is a path": ("[../x]", "TOML"),
    "blocks that no model has": ('[lora.block_ranks]\n"../../x" = 4', "lora"),
    "a version to come": ("version = 99", "version"),
    "a version that is true": ("version = true", "version"),
    "a seed below zero": ("seed = -1", "seed"),
    "an unknown method": ('method = "__import__(\'os\')"', "method"),
    "a method of escapes": ('method = "\\u001b[2J"', "method"),
    "a name that is a path": ('name = "../../x"', "name"),
    "a name of nothing": ('name = ""', "name"),
    "a name of 100,000 letters": (f'name = "{"a" * 100_000}"', "name"),
}  # fmt: skip

PATHS: dict[str, tuple[str, str]] = {
    "a NUL": ('"a\\u0000b"', "NUL"),
    "a control character": ('"C:\\new\\table"', "TOML|backslash|control"),
    "50,000 letters": (f'"{"a" * 50_000}"', ""),
    "10,000 folders": (f'"{"a/" * 10_000}"', ""),
    "no user's home": ('"~nobody-at-all/x"', "home"),
    "another protocol": ('"https://example.org/x"', ""),
    "a file address": ('"file:///etc/passwd"', ""),
    "a hub id upwards": ('"../etc"', ""),
    "the root": ('"/"', ""),
    "a device": ('"/dev/zero"', ""),
    "a process": ('"/proc/self/mem"', ""),
    "escapes": ('"\\u001b[2Jx"', ""),
    "a turned text": ('"\\u202egnp.x"', ""),
    "blanks": ('"   "', ""),
    "a pattern of stars": ('"**/**/**/**/*"', ""),
    "a link to itself": ('"loop"', ""),
}

GIVEN: dict[str, tuple[Sequence[str], str]] = {
    "a set without an end": (["check", "PLAN", "--set", "="], "--set|set"),
    "a set of an unknown key": (["check", "PLAN", "--set", "__class__.x=1"], "no such key"),
    "a set of 20,000 parts": (["check", "PLAN", "--set", "a." * 20_000 + "a=1"], ""),
    "a set of a huge number": (["check", "PLAN", "--set", "train.steps=" + "9" * 5000], "train.steps|digits"),
    "a set of escapes": (["check", "PLAN", "--set", f"hardware.device={ESCAPE}"], "hardware.device"),
    "a set that is a list without an end": (["check", "PLAN", "--set", "samples.prompts=[" * 5000], ""),
    "a command of escapes": ([ESCAPE], "no command"),
    "a run of escapes": (["show", ESCAPE], "no run"),
    "a run upwards": (["show", "../../../../etc"], "no run"),
    "a run of 100,000 letters": (["show", "a" * 100_000], "no run"),
    "a run at a device": (["show", "/dev/zero"], "no run"),
    "an option of escapes": (["list", f"--{ESCAPE}"], "usage"),
    "a resolution below zero": (["data", "pictures", "--resolution", "-5"], "resolution"),
    "a resolution of 10 ** 30": (["data", "pictures", "--resolution", "1" + "0" * 30], "resolution"),
    "a resolution of nothing": (["data", "pictures", "--resolution", "0"], "resolution"),
    "a plan's name upwards": (["new", "--base", "builtin:tiny", "--data", "pictures", "--name", "../../x"], "name"),
    "a plan at a device": (["new", "--base", "builtin:tiny", "--data", "pictures", "-o", "/dev/full", "--force"], ""),
    "a step below zero": (["export", "nothing", "--format", "kohya", "--step", "-1"], ""),
    "a demo of escapes": (["demo", ESCAPE], "method|no"),
    "a demo at a device": (["demo", "--dir", "/dev/null"], ""),
}  # fmt: skip


OPEN = {
    "a plan at a device": frozenset({1, 2}),
    "a demo at a device": frozenset({1, 2}),
    "a set that is a list without an end": EITHER,  # a text, of which one prompt is made
}


def _bytes(content: bytes, command: str) -> Make:
    def make(box: Box) -> list[str]:
        box.pictures()
        return [command, str(box.put("plan.toml", content))]

    return make


def _line(line: str) -> Make:
    def make(box: Box) -> list[str]:
        top = line.partition("\n")[0]
        if top.startswith("["):
            return ["check", box.plan(f"{PLAN}{line}\n")]
        name = top.partition(" = ")[0]
        rest = "\n".join(each for each in PLAN.splitlines() if not each.startswith(f"{name} = "))
        return ["check", box.plan(f"{line}\n{rest}\n")]

    return make


def _path(key: str, value: str) -> Make:
    def make(box: Box) -> list[str]:
        (box.input / "loop").symlink_to("loop")
        return ["check", box.plan(**{key: value})]

    return make


def _given(words: Sequence[str]) -> Make:
    def make(box: Box) -> list[str]:
        places = {"PLAN": box.plan(), "pictures": str(box.pictures())}
        return [places.get(word, word) for word in words]

    return make


def _kinds() -> Iterator[Hostile]:  # noqa: C901 (one small function a row)
    """What is no plain file in the place of a plan."""

    def fifo(box: Box) -> Path:
        os.mkfifo(box.input / "plan.toml")
        return box.input / "plan.toml"

    def loop(box: Box) -> Path:
        (box.input / "plan.toml").symlink_to("plan.toml")
        return box.input / "plan.toml"

    def folder(box: Box) -> Path:
        (box.input / "plan.toml").mkdir()
        return box.input / "plan.toml"

    def huge(box: Box) -> Path:
        with (box.input / "plan.toml").open("wb") as file:
            file.truncate(1 << 40)
        return box.input / "plan.toml"

    def long(box: Box) -> Path:
        return Path("p" * 5000)

    def socket(box: Box) -> Path:
        os.mknod(box.input / "plan.toml", 0o140600)
        return box.input / "plan.toml"

    def device(box: Box) -> Path:
        return Path("/dev/zero")

    def random(box: Box) -> Path:
        (box.input / "plan.toml").symlink_to("/dev/urandom")
        return box.input / "plan.toml"

    def through_a_file(box: Box) -> Path:
        return box.put("plan.toml", PLAN) / "plan.toml"

    def terminal(box: Box) -> Path:
        return Path("/dev/stdin")

    kinds = (fifo, loop, folder, huge, long, socket, device, random, through_a_file, terminal)
    for at, kind in enumerate(kinds):
        command = COMMANDS[at % len(COMMANDS)]
        yield Hostile(f"plan is {kind.__name__}: {command}", partial(_of_kind, kind, command))


def _of_kind(kind: Callable[[Box], Path], command: str, box: Box) -> list[str]:
    return [command, str(kind(box))]


def _odd_names() -> Iterator[Hostile]:
    """Names of files and folders around a sound plan."""
    names = {
        "no UTF-8": os.fsdecode(b"caf\xe9"),
        "escapes": ESCAPE.replace("/", ""),
        "a line feed": "a\nfix: rm -rf ~",
        "turned": "\u202elmot",
        "a dash": "-rf",
    }

    def make(name: str, box: Box) -> list[str]:
        below = box.input / name
        below.mkdir()
        box.pictures()
        plan = below / "plan.toml"
        plan.write_text(PLAN.replace('"pictures"', f"'{box.input / 'pictures'}'"))
        return ["check", f"./{plan}" if name.startswith("-") and not plan.is_absolute() else str(plan)]

    for title, name in names.items():
        yield Hostile(f"plan in a folder named {title}", partial(make, name), EITHER)


def cases() -> Iterator[Hostile]:
    """All cases of plans."""
    for at, (title, (content, says)) in enumerate(BYTES.items()):
        command = COMMANDS[at % len(COMMANDS)]
        yield Hostile(f"plan: {title}: {command}", _bytes(content, command), says=says)
    for title, (line, says) in LINES.items():
        codes = EITHER if title.startswith(("prompts of", "a prompt of")) else frozenset({2})
        yield Hostile(f"plan: {title}", _line(line), codes, says)
    for title, (value, says) in PATHS.items():
        # All of the machine as a data set is read as such, and says how many pictures there are.
        for key in ("model",) if title == "the root" else ("model", "path"):
            yield Hostile(f"plan: {key} is {title}", _path(key, value), says=says)
    for title, (words, says) in GIVEN.items():
        codes = OPEN.get(title, frozenset({2}))
        yield Hostile(f"given: {title}", _given(words), codes, says)
    yield from _kinds()
    yield from _odd_names()
    yield Hostile("plan: a byte order mark", _bytes(b"\xef\xbb\xbf" + PLAN.encode(), "check"), FINE)
