"""The command `sdtrain`, under a name that nothing else has, so that it is found on any PYTHONPATH.

It imports the package that lies beside it, whatever else is called `sdtrain_tui`.
"""

import os
import sys


def main() -> int:
    """Run one command and return its exit code."""
    # pathlib takes 5 ms to import, which --help does not need.
    sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))  # noqa: PTH100, PTH120
    import sdtrain_tui  # noqa: F401 (once it is imported, its modules are found through it)

    del sys.path[0]
    from sdtrain_tui import cli

    return cli.main()
