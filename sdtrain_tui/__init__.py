"""The terminal app and the `sdtrain` command; it never imports torch."""

import os
import sys

# The engine that lies beside this package, whatever else is called so in the current directory or on PYTHONPATH;
# its modules are found through it. pathlib takes 5 ms to import, which --help does not need.
sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))  # noqa: PTH100, PTH120
import engine  # noqa: F401

del sys.path[0]
