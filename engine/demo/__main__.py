"""`python -P -m engine.demo prepare METHOD DIR` and `... show RUN_DIR`: JSON on stdout, for `sdtrain demo`."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from engine.errors import UserError
from engine.run.paths import RunDir


def main(arguments: list[str]) -> int:
    """Run one of the two commands; 2 for a user's mistake."""
    try:
        match arguments:
            case ["prepare", method, folder]:
                from engine.demo.prepare import prepare

                print(json.dumps(prepare(Path(folder), method)))
            case ["show", folder]:
                from engine.demo.show import before_after

                print(json.dumps({"picture": str(before_after(RunDir(Path(folder))))}))
            case _:
                raise UserError("usage: python -P -m engine.demo prepare METHOD DIR | show RUN_DIR")
    except UserError as error:
        print("\n".join(error.lines()), file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
