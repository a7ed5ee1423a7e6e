"""The terminal app and the `sdtrain` command; it never imports torch."""

import sys
from pathlib import Path

# The engine that lies beside this package, whatever else is called so in the current directory or on PYTHONPATH;
# its modules are found through it.
sys.path.insert(0, str(Path(__file__).absolute().parents[1]))
import engine  # noqa: F401

del sys.path[0]
