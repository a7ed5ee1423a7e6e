"""The command `sdtrain`, under a name that nothing else has, so that it is found on any PYTHONPATH.

It imports the package that lies beside it, whatever else is called `sdtrain_tui`.
"""

import sys
from pathlib import Path


def main() -> int:
    """Run one command and return its exit code."""
    sys.path.insert(0, str(Path(__file__).absolute().parent))
    import sdtrain_tui  # noqa: F401 (once it is imported, its modules are found through it)

    del sys.path[0]
    from sdtrain_tui import cli

    return cli.main()
