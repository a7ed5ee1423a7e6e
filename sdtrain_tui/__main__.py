"""`python -m sdtrain_tui` is `sdtrain`."""

import sys

from sdtrain_tui.cli import main

if __name__ == "__main__":
    sys.exit(main())
