"""`python -P -m engine RUN_DIR`: the supervisor of one run."""

import sys

from engine.run.supervise import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
