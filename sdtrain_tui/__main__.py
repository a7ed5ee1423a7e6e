"""`python -m sdtrain_tui` is `sdtrain`."""

import os
import sys

# pathlib takes 5 ms to import, which --help does not need.
if sys.path and sys.path[0] == os.getcwd():  # noqa: PTH109
    del sys.path[0]  # put there by `python -m`: what lies in a user's folder is no module of ours

from sdtrain_tui.cli import main

if __name__ == "__main__":
    sys.exit(main())
