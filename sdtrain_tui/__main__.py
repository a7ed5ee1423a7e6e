"""`python -m sdtrain_tui` is `sdtrain`."""

import sys
from pathlib import Path

if sys.path and sys.path[0] == str(Path.cwd()):
    del sys.path[0]  # put there by `python -m`: what lies in a user's folder is no module of ours

from sdtrain_tui.cli import main

if __name__ == "__main__":
    sys.exit(main())
