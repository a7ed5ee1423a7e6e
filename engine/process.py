"""A process of this program, and its first act: to find its own packages, whatever else has their names.

An `engine` in the current directory or on PYTHONPATH would be found before an installed one. So every process is
started as `python -P .../engine/process.py MODULE ARGUMENTS`: the file that is named lies in the right package.
"""

import os
import runpy
import sys
from collections.abc import Mapping
from pathlib import Path

_HERE = Path(__file__).absolute()


def command(
    module: str, *arguments: str, python: str = sys.executable, options: tuple[str, ...] = ()
) -> list[str]:
    """What starts `module` of this engine, as `python -m MODULE ARGUMENTS` would; `options` are the interpreter's."""
    return [python, "-P", *options, str(_HERE), module, *arguments]


def environment(environ: Mapping[str, str]) -> dict[str, str]:
    """The caller's environment for a process that starts in another directory.

    Folders of PYTHONPATH are made absolute; an empty entry would mean the other directory and is dropped.
    """
    env = {key: value for key, value in environ.items() if key != "PYTHONPATH"}
    given = [entry for entry in environ.get("PYTHONPATH", "").split(os.pathsep) if entry]
    if given:
        env["PYTHONPATH"] = os.pathsep.join(str(Path(entry).absolute()) for entry in given)
    return env


def _run() -> None:
    # A package's modules are found through the package: once it is imported, its folder may leave the path again.
    sys.path.insert(0, str(_HERE.parents[1]))
    __import__("engine")
    del sys.path[0], sys.argv[0]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    _run()
